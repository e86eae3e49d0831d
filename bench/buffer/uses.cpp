// SPDX-License-Identifier: BSL-1.0
// A buffer is attached to, mapped, unmapped and left: all of it, and the part that a driver repeats for each job.
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../peers/buffer_by_hand.hpp"
#include "../peers/paddock_fence.hpp"
#include "../support/batch.hpp"
#include "../support/buffers.hpp"

namespace paddock::bench {
namespace {

using buffer_type = dma_buf<memory_exporter>;

/// Signaled, and of a queue of its own, so that it takes no other's place.
[[nodiscard]] fence_ptr done_fence() {
  fence_context queue("bench", std::chrono::seconds(1));
  return *queue.create();
}

/// The subject itself, under the verbs that all uses here have. They say whether it went well.
template <class... Policies>
class paddock_use {
 public:
  bool attach() noexcept { return at_.attach(buffer_, device_).has_value(); }
  bool map() noexcept {
    auto made = at_.map(direction::bidirectional);
    if (!made) {
      return false;
    }
    mapping_ = std::move(*made);
    keep(mapping_.iova().value());
    return true;
  }
  bool unmap() noexcept { return at_.unmap(std::move(mapping_)).has_value(); }
  bool detach() noexcept { return at_.detach().has_value(); }

  /// Added while they are pending: done ones would not be kept.
  bool add_done(std::size_t count) noexcept {
    const auto held = buffer_->lock();
    if (count != 0 && !buffer_->reservation().reserve(*held, static_cast<std::uint32_t>(count))) {
      return false;
    }
    std::vector<fence_ptr> added(count);
    for (fence_ptr& each : added) {
      each = done_fence();
      if (!at_.commit(*held, each, access::read)) {
        return false;
      }
    }
    for (const fence_ptr& each : added) {
      each->signal();
    }
    return true;
  }

 private:
  buffer_ptr<buffer_type> buffer_{*buffer_type::create(memory_exporter(buffer_bytes))};
  plain_device device_;
  attachment<buffer_type, plain_device, Policies...> at_;
  mapping<plain_device> mapping_;
};

template <bool LooksAtFences>
class use_by_hand {
 public:
  bool attach() {
    at_.attach(buffer_);
    return true;
  }
  bool map() {
    const std::byte* mapped = nullptr;
    if constexpr (LooksAtFences) {
      mapped = at_.map_when_done();
    } else {
      mapped = at_.map();
    }
    keep(mapped);
    return mapped != nullptr;
  }
  bool unmap() noexcept {
    at_.unmap();
    clobber(&at_);
    return true;
  }
  bool detach() { return at_.detach(); }

  bool add_done(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      buffer_->fences.push_back(done_fence());
      buffer_->fences.back()->signal();
    }
    return true;
  }

 private:
  std::shared_ptr<buffer_by_hand> buffer_{std::make_shared<buffer_by_hand>(buffer_bytes)};
  user_by_hand at_;
};

void check(benchmark::State& state, bool good) {
  if (!good) {
    state.SkipWithError("every step should succeed");
  }
}

template <class Use>
void whole_life(benchmark::State& state) {
  Use use;
  bool good = true;
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          good = good && use.attach() && use.map() && use.unmap() && use.detach();
        }
      });
  check(state, good);
}

template <class Use, std::size_t Done>
void map_and_unmap(benchmark::State& state) {
  Use use;
  bool good = use.attach() && use.add_done(Done);
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          good = good && use.map() && use.unmap();
        }
      });
  check(state, good && use.detach());
}

/// As a driver that holds the lock for its submission anyway.
template <class... Policies>
void map_and_unmap_locked(benchmark::State& state) {
  using attachment_type = attachment<buffer_type, plain_device, movable, Policies...>;
  const auto buffer = *buffer_type::create(memory_exporter(buffer_bytes));
  plain_device device;
  attachment_type at;
  bool good = at.attach(buffer, device).has_value();
  {
    const auto held = buffer->lock();
    const auto armed = at.arm(*held, [](attachment_type&, const resv_lock&) noexcept {});
    measure(
        state, batch_size, [] {},
        [&] {
          for (std::size_t i = 0; i < batch_size; ++i) {
            auto made = (*armed)->map(*held, direction::bidirectional);
            good = good && made.has_value();
            if (good) {
              keep(made->iova().value());
              good = (*armed)->unmap(*held, std::move(*made)).has_value();
            }
          }
        });
  }
  check(state, good && at.detach());
}

constexpr const char* life = "buffer: attach, map, unmap, detach";
constexpr const char* map = "buffer: map and unmap";
constexpr const char* map_fenced = "buffer: map and unmap, 4 done fences";
constexpr const char* map_locked = "buffer: map and unmap, lock held";

template <class Use>
void add_rows(const std::string& subject) {
  add_row(life, subject, whole_life<Use>);
  add_row(map, subject, map_and_unmap<Use, 0>);
}

const bool registered = [] {
  const std::string by_hand = "std::mutex and std::list";
  const std::string unfenced = ", no auto_fence";
  add_rows<paddock_use<>>("paddock");
  add_rows<paddock_use<no_auto_fence>>("paddock" + unfenced);
  add_rows<use_by_hand<true>>(by_hand);
  add_rows<use_by_hand<false>>(by_hand + unfenced);
  add_row(map_fenced, "paddock", map_and_unmap<paddock_use<>, 4>);
  add_row(map_fenced, by_hand, map_and_unmap<use_by_hand<true>, 4>);
  add_row(map_locked, "paddock", map_and_unmap_locked<>);
  add_row(map_locked, "paddock" + unfenced, map_and_unmap_locked<no_auto_fence>);
  return true;
}();

}  // namespace
}  // namespace paddock::bench
