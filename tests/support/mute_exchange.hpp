#pragma once
// A request of whose answer only what comes whole is kept: for what does not stream.

#include "http/exchange.hpp"

#include <vector>

namespace parlor::test {

struct mute_exchange : http::exchange {
  std::vector<http::response> answers;

  void respond(http::response r) override { answers.push_back(std::move(r)); }
  void open(http::response, std::string) override {}
  void push(http::chunk) override {}
  void close() override {}
  void abort() override {}
  std::size_t backlog() const noexcept override { return 0; }
  void watch(std::function<void(http::signal)>) override {}
  http::websocket_ptr upgrade(const http::websocket_options&, http::message_sink) override {
    return nullptr;
  }
};

} // namespace parlor::test
