// SPDX-License-Identifier: BSL-1.0
// A queue's next job is added to a reservation that has its last one: room and the fence, under a lock for all or one
// for each.
#include <mutex>
#include <vector>

#include <paddock/resv/reservation.hpp>

#include "../peers/paddock_fence.hpp"
#include "../support/batch.hpp"

namespace paddock::bench {
namespace {

/// The subject itself.
class paddock_reservation {
 public:
  paddock_reservation() {
    static_cast<void>(
        reservation_.test_signaled(usage::read));  // There are readers, so what leaves has to wait for them.
  }
  void add(fence_ptr added) noexcept { add(*reservation_.lock(), std::move(added)); }
  void add(const resv_lock& proof, fence_ptr added) noexcept {
    if (reservation_.reserve(proof, 1)) {
      static_cast<void>(reservation_.add(proof, std::move(added), usage::write));
    }
  }
  [[nodiscard]] result<resv_lock> lock() noexcept { return reservation_.lock(); }
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t found = 0;
    reservation_.for_each(usage::write, [&](const fence&, usage) noexcept { ++found; });
    return found;
  }

 private:
  reservation reservation_;
};

/// What a careful programmer writes who has no readers without the lock.
class mutex_and_vector {
 public:
  void add(fence_ptr added) {
    const std::scoped_lock guard(mutex_);
    for (fence_ptr& each : fences_) {
      if (each->context() == added->context() || each->is_signaled()) {
        each = std::move(added);
        return;
      }
    }
    fences_.push_back(std::move(added));
  }
  [[nodiscard]] std::size_t size() const noexcept { return fences_.size(); }

 private:
  std::mutex mutex_;
  std::vector<fence_ptr> fences_;
};

template <class Reservation, bool LockedOnce>
void reserve_and_add(benchmark::State& state) {
  Reservation reservation;
  // They are pending, and the queue that they are in has them too, until the reservation has dropped them.
  std::vector<fence_ptr> jobs(batch_size);
  std::vector<fence_ptr> earlier(batch_size);
  std::vector<fence_ptr> given;
  measure(
      state, batch_size,
      [&] {
        jobs.swap(earlier);
        for (fence_ptr& each : jobs) {
          each = *context().create();
        }
        given = jobs;
      },
      [&] {
        if constexpr (LockedOnce) {
          const auto proof = reservation.lock();
          for (fence_ptr& each : given) {
            reservation.add(*proof, std::move(each));
          }
        } else {
          for (fence_ptr& each : given) {
            reservation.add(std::move(each));
          }
        }
      });
  if (reservation.size() != 1) {
    state.SkipWithError("the last job should be there alone");
  }
}

const bool registered = [] {
  add_row("resv: reserve and add", "paddock", reserve_and_add<paddock_reservation, true>);
  add_row("resv: lock, reserve and add", "paddock", reserve_and_add<paddock_reservation, false>);
  add_row("resv: lock, reserve and add", "std::mutex and std::vector", reserve_and_add<mutex_and_vector, false>);
  return true;
}();

}  // namespace
}  // namespace paddock::bench
