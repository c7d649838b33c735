// parlor serve | version | config default|show | check-config

#include "app/host.hpp"
#include "app/logging.hpp"
#include "app/options.hpp"
#include "app/version.hpp"

#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <exception>

int main(int argc, char** argv, char** envp) {
  rlimit none{0, 0}; // a core would have keys and conversations in it
  ::setrlimit(RLIMIT_CORE, &none);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN); // a limit on the size of files is a full disk, not the end
  try {
    std::string command;
    auto config = parlor::load_settings(argc, argv, envp, command);
    if (command == "version") {
      std::printf("%s\n", parlor::version_json().c_str());
      return 0;
    }
    if (command != "serve")
      return 0; // load_settings has done what was asked: it printed, or checked
    parlor::start_logging(config.log.format == parlor::log_format::json   ? "json"
                          : config.log.format == parlor::log_format::text ? "text"
                                                                          : "auto",
                          config.log.level);
    return parlor::serve(config);
  } catch (const parlor::config_error& e) {
    std::fprintf(stderr, "parlor: %s\n", e.what());
    return 78; // EX_CONFIG
  } catch (const std::exception& e) {
    std::fprintf(stderr, "parlor: %s\n", e.what());
    return 1;
  }
}
