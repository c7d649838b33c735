// The faulty upstream as a program for tests over real sockets: prints "listening PORT", runs until
// it is killed. GET /_stats tells what there was. An argument chooses the port.

#include "support/faulty_upstream.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  auto port = static_cast<unsigned short>(argc > 1 ? std::atoi(argv[1]) : 0);
  parlor::testing::faulty_upstream upstream{port};
  std::printf("listening %u\n", static_cast<unsigned>(upstream.port()));
  std::fflush(stdout);
  for (;;)
    ::pause();
}
