// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the tests of the reservations share.
#pragma once

#include <array>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/resv/reservation.hpp>

#include "catch.hpp"
#include "fences.hpp"

namespace paddock::test {

inline constexpr std::array all_usages{usage::kernel, usage::write, usage::read, usage::bookkeep};

/// Whether it failed, and with that.
template <class T>
[[nodiscard]] bool fails_with(const result<T>& ended, errc why) {
  return !ended.has_value() && ended.error() == why;
}

/// Adds a fence, with the lock taken for it.
inline void add(reservation& r, fence_ptr f, usage as) {
  const auto lock = r.lock();
  REQUIRE(lock);
  REQUIRE(r.reserve(*lock, 1));
  REQUIRE(r.add(*lock, std::move(f), as));
}

struct found {
  const fence* which;
  usage as;
  friend bool operator==(const found&, const found&) = default;
};
/// What is pending, in the order of the list.
[[nodiscard]] inline std::vector<found> pending(const reservation& r, usage upto = usage::bookkeep) {
  std::vector<found> all;
  r.for_each(upto, [&](fence& f, usage as) { all.push_back({&f, as}); });
  return all;
}

/// Frees what can be freed. Returns how many still wait for readers.
inline std::size_t collect(reservation& r) {
  const auto lock = r.lock();
  REQUIRE(lock);
  return r.collect(*lock).value_or(SIZE_MAX);
}

/// Runs `what` in another thread, to its end.
template <class What>
void elsewhere(What what) {
  std::thread(std::move(what)).join();
}

}  // namespace paddock::test
