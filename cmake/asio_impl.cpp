// Boost.Asio compiled once, instead of into every file that includes it.
#include <boost/asio/impl/src.hpp>
