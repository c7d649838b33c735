#pragma once
// The address to listen on. Pure; any thread.

#include "app/settings.hpp"

#include <string>
#include <utility>

namespace parlor {

/// "127.0.0.1:8080" or "[::1]:8080" taken apart; throws config_error.
std::pair<std::string, unsigned short> split_address(const std::string& listen);

/// The reason why these settings must not be served, or empty: a listener that others can reach
/// needs a key.
std::string unsafe_listener(const settings& config);

/// Whether what is sent to this base address passes the public internet unencrypted. Names of one
/// word and those that only a network's own servers know are of that network. Pure.
bool is_sent_in_the_open(std::string_view base_url);

/// An address of a service as it may be shown: what stands before its host and in its query may be
/// a password. Pure.
std::string without_secrets(std::string url);

} // namespace parlor
