// SPDX-License-Identifier: BSL-1.0
/// \file
/// Counts what an operation costs by executing it one instruction at a time (ptrace(2), x86-64). The counts have no
/// noise, whatever else the machine does.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <type_traits>
#include <vector>

namespace paddock::test {

/// What makes an operation expensive.
struct events {
  std::uint64_t locked{0};       ///< Instructions with a LOCK prefix, and XCHG with memory.
  std::uint64_t fences{0};       ///< MFENCE, LFENCE and SFENCE.
  std::uint64_t allocations{0};  ///< Calls of malloc and its kin, also those by operator new.
  std::uint64_t frees{0};
  std::vector<long> syscalls{};  ///< Their numbers, in order.

  friend bool operator==(const events&, const events&) = default;
};
std::ostream& operator<<(std::ostream& out, const events& e);

struct cost {
  /// Without the call and the return that an empty function takes too. REP counts each repetition.
  std::uint64_t instructions{0};
  test::events events{};
};
std::ostream& operator<<(std::ostream& out, const cost& c);

/// What the one counted() call in `body` costs, printed with its name. The body is run twice in a child process; only
/// the second time counts, so that neither lazy binding nor a page that is touched first does. Ends the test case as
/// skipped where nothing can be counted, and as failed where the body does not get to its end.
[[nodiscard]] cost cost_of(const char* name, const std::function<void()>& body);

/// Ends the child process, and with it the test case, as failed. Catch2 does not see what its child checks.
void must(bool condition);

/// Calls operation(state) between two breakpoints. Not a template, so that nothing of the operation is inlined here.
extern "C" std::uint64_t paddock_test_counted_call(void (*operation)(), void* state) noexcept;

/// The part of a body that is counted: a function of one reference, which returns nothing, a bool or a small enum.
/// Other threads of the body are not counted.
template <class Operation, class State>
auto counted(Operation operation, State& state) {
  using answer = std::invoke_result_t<Operation, State&>;
  answer (*const function)(State&) = operation;
  const std::uint64_t rax = paddock_test_counted_call(reinterpret_cast<void (*)()>(function), &state);
  if constexpr (!std::is_void_v<answer>) {
    static_assert(std::is_scalar_v<answer> && sizeof(answer) == 1, "rax is read as far as all types define it");
    return static_cast<answer>(rax & 0xffU);
  }
}

}  // namespace paddock::test
