// SPDX-License-Identifier: BSL-1.0
#include <chrono>

#include <paddock/fence/context.hpp>
#include <paddock/fence/wait.hpp>

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

constexpr plugin::table functions{&make_code,      &code_is,    &set_handler, &report, &address_of_category,
                                  &new_context_id, &make_fence, &signal,      &wait};

}  // namespace

// The one symbol that hidden visibility leaves.
extern "C" __attribute__((visibility("default"))) const plugin::table* paddock_test_plugin() { return &functions; }
