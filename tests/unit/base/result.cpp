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
