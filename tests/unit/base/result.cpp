// SPDX-License-Identifier: BSL-1.0
#include <paddock/base/result.hpp>

#include <memory>

#include "catch.hpp"

using namespace paddock;

namespace {

result<std::unique_ptr<int>> make(int value) {
  if (value < 0) {
    return fail(errc::out_of_range, "make");
  }
  return std::make_unique<int>(value);
}

result<void> check(int value) {
  PADDOCK_TRY_VOID(make(value));
  return {};
}

result<int> sum(int a, int b) {
  PADDOCK_TRY(auto first, make(a));
  PADDOCK_TRY(const auto second, make(b));
  return *first + *second;
}

struct refusal {
  errc why{};
};
tl::expected<int, refusal> refuse(bool refused) {
  return refused ? tl::expected<int, refusal>(tl::unexpected(refusal{errc::busy})) : 7;
}
tl::expected<int, refusal> ask(bool refused) {
  PADDOCK_TRY_VOID(refuse(false));
  PADDOCK_TRY(const int answer, refuse(refused));
  return answer;
}

}  // namespace

TEST_CASE("PADDOCK_TRY declares the value, moved out of the result") {
  const auto total = sum(1, 2);
  REQUIRE(total);
  CHECK(*total == 3);
}

TEST_CASE("PADDOCK_TRY returns the first error") {
  const auto total = sum(1, -2);
  REQUIRE_FALSE(total);
  CHECK(total.error() == errc::out_of_range);
  CHECK_FALSE(sum(-1, 2));
}

TEST_CASE("PADDOCK_TRY_VOID drops the value and keeps the error") {
  CHECK(check(1));
  REQUIRE_FALSE(check(-1));
  CHECK(check(-1).error() == errc::out_of_range);
}

TEST_CASE("PADDOCK_TRY passes on an error of the caller's own type") {
  CHECK(ask(false).value_or(0) == 7);
  REQUIRE_FALSE(ask(true));
  CHECK(ask(true).error().why == errc::busy);
}
