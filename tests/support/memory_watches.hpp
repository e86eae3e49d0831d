// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the tests of watched memory share.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <paddock/buffer/memory_monitor.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/resv/reservation.hpp>

#include "catch.hpp"
#include "fences.hpp"
#include "reservations.hpp"

namespace paddock::test {

/// Anonymous memory that was written to.
class pages {
 public:
  explicit pages(std::size_t count) : count_(count * detail::page_size()) {
    void* const made = ::mmap(nullptr, count_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(made != MAP_FAILED);
    at_ = static_cast<std::byte*>(made);
    for (std::byte& each : all()) {
      each = std::byte{0x5a};
    }
  }
  pages(const pages&) = delete;
  pages& operator=(const pages&) = delete;
  ~pages() {
    if (at_ != nullptr) {
      ::munmap(at_, count_);
    }
  }
  [[nodiscard]] std::span<std::byte> all() const noexcept { return {at_, count_}; }
  [[nodiscard]] std::span<std::byte> part(std::size_t first, std::size_t count) const noexcept {
    return all().subspan(first * detail::page_size(), count * detail::page_size());
  }
  /// Somebody else unmaps it.
  std::span<std::byte> give_away() noexcept { return {std::exchange(at_, nullptr), count_}; }

 private:
  std::size_t count_;
  std::byte* at_{nullptr};
};

/// What a watch's functions did.
struct watch_log {
  [[nodiscard]] auto unmap() noexcept {
    return [this]() noexcept { ++unmapped; };
  }
  [[nodiscard]] auto tell() noexcept {
    return [this](const memory_report& r) noexcept {
      const std::lock_guard guard(mutex);
      reports.push_back(r);
    };
  }
  [[nodiscard]] std::vector<memory_report> told() {
    const std::lock_guard guard(mutex);
    return reports;
  }
  std::atomic<int> unmapped{0};
  std::mutex mutex;
  std::vector<memory_report> reports;
};

/// Starts a job as a driver does: room first, then what cannot fail.
[[nodiscard]] inline result<void> start_job(memory_watch& watch, reservation& of, const fence_ptr& job) {
  PADDOCK_TRY(const resv_lock lock, of.lock());
  PADDOCK_TRY_VOID(of.reserve(lock, 1));
  return watch.use([&]() noexcept { return of.add(lock, job, usage::bookkeep); });
}

}  // namespace paddock::test
