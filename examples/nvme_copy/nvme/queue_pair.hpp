// SPDX-License-Identifier: BSL-1.0
/// \file
/// A submission and a completion queue. Each command is a fence; whoever walks the completion queue signals it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include <paddock/base/mmio.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/ioas.hpp>

#include "registers.hpp"

namespace nvme {

/// Payload bytes that a queue moved, by where they were put or fetched; counted when the command succeeds, from what
/// the address space says is mapped at the command's addresses.
struct traffic {
  std::atomic<std::uint64_t> memory{0};
  std::atomic<std::uint64_t> device_memory{0};

  void add(paddock::storage_kind where, std::uint64_t bytes) noexcept {
    (where == paddock::storage_kind::memory ? memory : device_memory).fetch_add(bytes);
  }
};

/// A command in flight: the fence, and what the controller answered. EIO when it reported an error, ENODEV when the
/// device went away, ETIME when the driver gave up.
class command final : public paddock::fence {
 public:
  command(paddock::fence_context& context, void* queue) noexcept : fence(context, &operations, queue) {}

  [[nodiscard]] nvme::status nvme_status() const noexcept { return status_; }
  [[nodiscard]] std::uint32_t result() const noexcept { return result_; }

 private:
  friend class queue_pair;
  static const paddock::fence_ops operations;

  nvme::status status_;
  std::uint32_t result_{0};
};

/// The status of a command that failed with EIO. Requires: a fence that queue_pair::submit() returned.
[[nodiscard]] inline status status_of(const paddock::fence& f) noexcept {
  return static_cast<const command&>(f).nvme_status();
}

/// Thread-safety: any thread may submit and walk. Callbacks run in the thread that walks.
class queue_pair {
 public:
  /// One page for the PRP list of each command: what one page can list bounds a transfer.
  static constexpr std::size_t page = 4096;
  static constexpr std::uint64_t longest_transfer = (page / sizeof(std::uint64_t)) * page;

  /// The submission queue has one page.
  static constexpr std::uint16_t most_entries = page / sizeof(submission);

  /// Memory for `entries` entries. `registers` is BAR0; ringing starts with the first submission.
  /// Errors: invalid_argument (fewer than 2 or more than most_entries), and those of coherent_buffer::create().
  [[nodiscard]] static paddock::result<std::unique_ptr<queue_pair>> create(paddock::vfio::ioas& space,
                                                                           paddock::mmio_span registers,
                                                                           std::uint32_t doorbell_stride,
                                                                           std::uint16_t id, std::uint16_t entries,
                                                                           std::chrono::nanoseconds timeout) {
    if (entries < 2 || entries > most_entries) {
      return paddock::fail(paddock::errc::invalid_argument, "NVMe queue entries");
    }
    PADDOCK_TRY(auto memory, paddock::vfio::coherent_buffer::create(space, (2U + entries) * page));
    std::unique_ptr<queue_pair> made(
        new queue_pair(space, registers, doorbell_stride, id, entries, timeout, std::move(memory)));
    return made;
  }
  queue_pair(const queue_pair&) = delete;
  queue_pair& operator=(const queue_pair&) = delete;
  ~queue_pair() { stop(paddock::errc::canceled); }

  [[nodiscard]] std::uint16_t id() const noexcept { return id_; }
  [[nodiscard]] std::uint16_t entries() const noexcept { return entries_; }
  /// Commands that may be in flight at once.
  [[nodiscard]] std::uint16_t depth() const noexcept { return static_cast<std::uint16_t>(entries_ - 1); }
  [[nodiscard]] paddock::iova sq_address() const noexcept { return memory_.iova(0); }
  [[nodiscard]] paddock::iova cq_address() const noexcept { return memory_.iova(page); }
  [[nodiscard]] std::chrono::nanoseconds timeout() const noexcept { return context_.timeout(); }
  [[nodiscard]] const traffic& moved() const noexcept { return moved_; }
  /// The most commands that were in flight at once.
  [[nodiscard]] std::uint16_t peak() const noexcept { return peak_.load(); }

  /// Queues a command whose data, if any, are `bytes` at `data`. The addresses must stay mapped until the fence
  /// signals. Errors: busy (depth() commands are in flight), no_device, misaligned and out_of_range (the transfer),
  /// out_of_memory.
  [[nodiscard]] paddock::result<paddock::fence_ptr> submit(submission entry, paddock::iova data = {},
                                                           std::uint64_t bytes = 0);

  /// Takes completions off the queue and signals their fences. Returns how many.
  std::size_t walk() noexcept;

  /// Refuses new commands from then on; those in flight go on.
  void refuse(paddock::errc why) noexcept {
    const std::lock_guard guard(mutex_);
    refused_with_ = refused_with_.value_or(why);
  }
  [[nodiscard]] bool idle() noexcept {
    const std::lock_guard guard(mutex_);
    return in_flight_ == 0;
  }
  /// Fails everything in flight, oldest first, and refuses new commands from then on. Does not touch the device.
  void stop(paddock::errc why) noexcept;

 private:
  struct slot {
    paddock::fence_ptr fence;
    std::uint64_t bytes{0};
    paddock::storage_kind storage{};
  };

  queue_pair(paddock::vfio::ioas& space, paddock::mmio_span registers, std::uint32_t doorbell_stride, std::uint16_t id,
             std::uint16_t entries, std::chrono::nanoseconds timeout, paddock::vfio::coherent_buffer memory)
      : space_(space),
        registers_(registers),
        sq_doorbell_(reg::doorbells + (2U * id) * doorbell_stride),
        cq_doorbell_(reg::doorbells + (2U * id + 1U) * doorbell_stride),
        id_(id),
        entries_(entries),
        context_("nvme", timeout),
        memory_(std::move(memory)),
        slots_(entries) {}

  [[nodiscard]] paddock::result<void> describe_data(submission& entry, std::uint16_t command_id, paddock::iova data,
                                                    std::uint64_t bytes);

  paddock::vfio::ioas& space_;
  paddock::mmio_span registers_;
  std::size_t sq_doorbell_;
  std::size_t cq_doorbell_;
  std::uint16_t id_;
  std::uint16_t entries_;
  paddock::fence_context context_;
  paddock::vfio::coherent_buffer memory_;
  traffic moved_;
  std::atomic<std::uint16_t> peak_{0};

  std::mutex mutex_;         ///< Guards everything below. Fences are signaled without it.
  std::vector<slot> slots_;  ///< By command id.
  std::uint16_t sq_tail_{0};
  std::uint16_t cq_head_{0};
  std::uint16_t in_flight_{0};
  bool phase_{true};
  bool stopped_{false};
  std::optional<paddock::errc> refused_with_;  ///< Why there are no new commands.
};

inline const paddock::fence_ops command::operations{
    .poll =
        [](fence& f) noexcept {
          static_cast<queue_pair*>(f.source())->walk();
          return false;  // walk() has signaled whatever is done.
        },
    .release = [](fence& f) noexcept { delete &static_cast<command&>(f); },
};

inline paddock::result<void> queue_pair::describe_data(submission& entry, std::uint16_t command_id, paddock::iova data,
                                                       std::uint64_t bytes) {
  if (bytes == 0) {
    return {};
  }
  if (data.value() % page != 0 || bytes % 512 != 0) {
    return paddock::fail(paddock::errc::misaligned, "NVMe transfer");
  }
  if (bytes > longest_transfer) {
    return paddock::fail(paddock::errc::out_of_range, "NVMe transfer");
  }
  const std::uint64_t pages = (bytes + page - 1) / page;
  entry.prp1 = data.value();
  if (pages == 2) {
    entry.prp2 = data.value() + page;
  } else if (pages > 2) {
    const std::size_t list = (2U + command_id) * page;
    auto* entries = memory_.at<std::uint64_t>(list);
    for (std::uint64_t i = 1; i < pages; ++i) {
      entries[i - 1] = data.value() + i * page;
    }
    entry.prp2 = memory_.iova(list).value();
  }
  return {};
}

inline paddock::result<paddock::fence_ptr> queue_pair::submit(submission entry, paddock::iova data,
                                                              std::uint64_t bytes) {
  const auto mapped = bytes == 0 ? std::nullopt : space_.find(data);
  const std::lock_guard guard(mutex_);
  if (refused_with_) {
    return paddock::fail(*refused_with_, "NVMe queue");
  }
  if (bytes != 0 && (!mapped || !paddock::range_fits(data - mapped->start, bytes, mapped->size))) {
    return paddock::fail(paddock::errc::bad_address, "NVMe transfer: the data are not mapped");
  }
  if (in_flight_ == depth()) {
    return paddock::fail(paddock::errc::busy, "NVMe queue is full");
  }
  const auto free = std::find_if(slots_.begin(), slots_.end(), [](const slot& each) { return !each.fence; });
  const auto command_id = static_cast<std::uint16_t>(free - slots_.begin());
  PADDOCK_TRY_VOID(describe_data(entry, command_id, data, bytes));
  auto* made = new (std::nothrow) command(context_, this);
  if (made == nullptr) {
    return paddock::fail(paddock::errc::out_of_memory, "NVMe command");
  }
  *free = {paddock::fence_ptr::adopt(made), bytes, mapped ? mapped->storage : paddock::storage_kind::memory};
  ++in_flight_;
  peak_ = std::max(peak_.load(), in_flight_);

  entry.command_id = command_id;
  std::memcpy(memory_.bytes().data() + sq_tail_ * sizeof(submission), &entry, sizeof entry);
  sq_tail_ = static_cast<std::uint16_t>((sq_tail_ + 1) % entries_);
  registers_.write32(sq_doorbell_, sq_tail_);
  return free->fence;
}

inline std::size_t queue_pair::walk() noexcept {
  std::size_t total = 0;
  for (;;) {
    std::array<paddock::fence_ptr, 32> done;
    std::size_t count = 0;
    {
      const std::lock_guard guard(mutex_);
      const std::uint16_t old_head = cq_head_;
      while (!stopped_ && count < done.size()) {
        const auto* entry = memory_.at<const volatile std::uint16_t>(page + cq_head_ * sizeof(completion) +
                                                                     offsetof(completion, status_and_phase));
        if ((*entry & 1U) != (phase_ ? 1U : 0U)) {
          break;
        }
        paddock::dma_rmb();  // The rest of the entry was written before its phase.
        completion answer;
        std::memcpy(&answer, memory_.bytes().data() + page + cq_head_ * sizeof(completion), sizeof answer);
        cq_head_ = static_cast<std::uint16_t>((cq_head_ + 1) % entries_);
        phase_ = cq_head_ == 0 ? !phase_ : phase_;
        if (answer.command_id >= slots_.size() || !slots_[answer.command_id].fence) {
          continue;  // A completion that nobody asked for: a broken controller must not break us.
        }
        slot& finished = slots_[answer.command_id];
        auto& finished_command = static_cast<command&>(*finished.fence);
        finished_command.status_.raw = static_cast<std::uint16_t>(answer.status_and_phase >> 1U);
        finished_command.result_ = answer.result;
        if (finished_command.status_.ok()) {
          moved_.add(finished.storage, finished.bytes);
        }
        done[count++] = std::exchange(finished.fence, {});
        --in_flight_;
      }
      if (cq_head_ != old_head) {
        registers_.write32(cq_doorbell_, cq_head_);
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (status_of(*done[i]).ok()) {
        done[i]->signal();
      } else {
        done[i]->fail(paddock::errc::io);
      }
    }
    total += count;
    if (count < done.size()) {
      return total;
    }
  }
}

inline void queue_pair::stop(paddock::errc why) noexcept {
  std::vector<paddock::fence_ptr> pending;
  {
    const std::lock_guard guard(mutex_);
    stopped_ = true;
    refused_with_ = refused_with_.value_or(why);
    pending.reserve(in_flight_);
    for (slot& each : slots_) {
      if (each.fence) {
        pending.push_back(std::exchange(each.fence, {}));
      }
    }
    in_flight_ = 0;
  }
  std::sort(pending.begin(), pending.end(), [](const auto& a, const auto& b) { return a->seqno() < b->seqno(); });
  paddock::fence_context::fail_all(pending, why);
}

}  // namespace nvme
