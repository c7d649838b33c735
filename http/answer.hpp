#pragma once
// The exchange that a connection gives to whoever answers its present request.
//
// Owner: as exchange.hpp says; keeps the connection alive. Thread: any.

#include "http/connection.hpp"

namespace parlor::http {

class answer final : public exchange {
public:
  answer(std::shared_ptr<connection> c, std::uint64_t turn) : c_{std::move(c)}, turn_{turn} {}
  void respond(response r) override;
  void label(std::uint8_t route) override;
  void open(response head, std::string keepalive) override;
  websocket_ptr upgrade(const websocket_options& options, message_sink sink) override;
  void push(chunk piece) override;
  void close() override;
  void abort() override;
  std::size_t backlog() const noexcept override;
  void watch(std::function<void(signal)> f) override;

private:
  std::shared_ptr<connection> c_;
  std::uint64_t turn_;
};

} // namespace parlor::http
