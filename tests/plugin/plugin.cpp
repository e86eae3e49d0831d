// SPDX-License-Identifier: BSL-1.0
#include <chrono>
#include <new>
#include <utility>

#include <paddock/fence/context.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/resv/cursor.hpp>

#include "interface.hpp"

namespace {

std::error_code make_code(paddock::errc code) noexcept { return paddock::make_error_code(code); }
bool code_is(const std::error_code& code, paddock::errc expected) noexcept { return code == expected; }
paddock::lost_error_handler set_handler(paddock::lost_error_handler handler) noexcept {
  return paddock::set_lost_error_handler(handler);
}
void report(const paddock::error& e) noexcept { paddock::report_lost_error(e); }
const void* address_of_category() noexcept { return &paddock::detail::category(); }

paddock::fence_context make_context() noexcept { return {"plugin", std::chrono::seconds(1)}; }
std::uint64_t new_context_id() noexcept { return make_context().id(); }
paddock::fence_ptr make_fence() noexcept { return make_context().create().value_or(paddock::fence_ptr{}); }
bool signal(paddock::fence& f) noexcept { return f.signal(); }
paddock::wait_status wait(paddock::fence& f) noexcept {
  return paddock::wait(f, paddock::deadline::in(std::chrono::seconds(30))).value_or(paddock::wait_status::failed);
}

paddock::reservation* make_reservation() noexcept { return new (std::nothrow) paddock::reservation; }
void destroy_reservation(paddock::reservation* r) noexcept { delete r; }
bool add(paddock::reservation& r, paddock::fence_ptr f) noexcept {
  const auto lock = r.lock();
  return lock && r.reserve(*lock, 1) && r.add(*lock, std::move(f), paddock::usage::read) && r.collect(*lock);
}
int pending(const paddock::reservation& r) noexcept {
  const auto taken = r.snapshot(paddock::usage::read);
  int walked = 0;
  paddock::fence_cursor each(r, paddock::usage::read);
  while (each.next()) {
    ++walked;
  }
  int visited = 0;
  r.for_each(paddock::usage::read, [&](paddock::fence&, paddock::usage) { ++visited; });
  const bool alike = taken && std::cmp_equal(taken->size(), walked) && walked == visited &&
                     r.test_signaled(paddock::usage::read) == (walked == 0);
  return alike ? walked : -1;
}
paddock::errc lock(paddock::reservation& r, paddock::acquire_context& context, paddock::resv_lock& to) noexcept {
  auto taken = r.lock(context, paddock::deadline::in(std::chrono::seconds(30)));
  if (taken) {
    to = std::move(*taken);
  }
  return taken ? paddock::errc{} : taken.error().code;
}
void guarded(const paddock::reservation& r, void (*during)(void*), void* argument) {
  const paddock::resv_guard inside(r);
  during(argument);
}

constexpr plugin::table functions{&make_code,           &code_is,    &set_handler, &report, &address_of_category,
                                  &new_context_id,      &make_fence, &signal,      &wait,   &make_reservation,
                                  &destroy_reservation, &add,        &pending,     &lock,   &guarded};

}  // namespace

// The one symbol that hidden visibility leaves.
extern "C" __attribute__((visibility("default"))) const plugin::table* paddock_test_plugin() { return &functions; }
