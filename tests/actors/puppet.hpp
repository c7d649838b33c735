#pragma once

#include "llm/provider.hpp"

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace parlor::test {

/// A model whose every word is the test's.
struct puppet final : llm::provider {
  struct talk_of {
    llm::call_request request;
    llm::call_sink sink;
    bool closed = false; // by the task, before its end
    bool over = false;
  };
  struct handle final : llm::call {
    explicit handle(std::shared_ptr<talk_of> t) : it{std::move(t)} {}
    ~handle() override { cancel(); }
    void cancel() override {
      if (!it->over)
        it->closed = it->over = true;
    }
    std::shared_ptr<talk_of> it;
  };
  std::vector<std::shared_ptr<talk_of>> calls;
  bool throws = false; // the task that asks dies of it

  std::unique_ptr<llm::call> start(llm::call_request r, llm::call_sink s) override {
    if (throws)
      throw std::runtime_error{"on purpose"};
    calls.push_back(std::make_shared<talk_of>(talk_of{std::move(r), std::move(s)}));
    return std::make_unique<handle>(calls.back());
  }
};

} // namespace parlor::test
