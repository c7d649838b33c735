#pragma once
// A request with a deadline that costs nothing once it is answered. CAF leaves the timeout of an
// answered request in the clock until it would have fired; here it is taken out.

#include <caf/all.hpp>

#include <chrono>
#include <utility>

namespace parlor {

namespace detail {
template <class Self, class F, class... As>
auto then_cancel(Self self, caf::message_id id, F f, caf::detail::type_list<As...>) {
  return [self, id, f = std::move(f)](As... as) mutable {
    self->clock().cancel_request_timeout(self, id);
    f(std::forward<As>(as)...);
  };
}
template <class F>
using arguments_of = typename caf::detail::get_callable_trait<F>::arg_types;
} // namespace detail

/// Sends `what` to `dest`; calls `then` with the answer, or `failed` with the error: its own, the
/// deadline's (caf::sec::request_timeout), or that `dest` has gone. Both are non-mutable lambdas
/// and run on the actor.
template <class Self, class Dest, class What, class Then, class Failed>
void ask(Self self, const Dest& dest, std::chrono::milliseconds within, What what, Then then,
         Failed failed) {
  auto handle = self->request(dest, within, std::move(what));
  auto id = handle.id();
  handle.then(detail::then_cancel(self, id, std::move(then), detail::arguments_of<Then>{}),
              detail::then_cancel(self, id, std::move(failed), detail::arguments_of<Failed>{}));
}

} // namespace parlor
