// SPDX-License-Identifier: BSL-1.0
/// \file
/// The copy itself: reads into a window overlap with writes out of it, gated by fences only.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <paddock/base/result.hpp>
#include <paddock/buffer/mapped_buffer.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/vfio/bar_exporter.hpp>

#include "nvme/controller.hpp"

namespace nvme_copy {

/// How the program ends, so that scripts can tell.
enum class ending : int {
  done = 0,
  failed = 1,        ///< A drive reported an error, or did not answer.
  usage = 2,         ///< The command line makes no sense.
  not_opened = 3,    ///< A device could not be opened: the message says what to do.
  no_route = 4,      ///< Peer to peer was demanded and is not to be had.
  sizes_differ = 5,  ///< The drives do not fit each other.
  not_equal = 6,     ///< Verification found a difference.
  device_lost = 7,   ///< A device was taken away in the middle.
  interrupted = 130,
};

/// Why it did not work, in a sentence.
struct failure {
  ending how{ending::failed};
  std::string message;
};

template <class T>
using outcome = tl::expected<T, failure>;

[[nodiscard]] inline tl::unexpected<failure> failed(ending how, std::string message) {
  return tl::unexpected<failure>(failure{how, std::move(message)});
}

/// The memory that a copy goes through, and both drives' use of it. The copy waits for its own commands.
template <class Exporter, class... Policies>
struct window {
  using buffer = paddock::dma_buf<Exporter>;
  using use = paddock::mapped_buffer<buffer, paddock::vfio::device, paddock::no_auto_fence, Policies...>;

  /// The address of its first byte, for both drives: they share the address space.
  [[nodiscard]] paddock::result<paddock::iova> open(Exporter from, nvme::controller& a, nvme::controller& b) {
    PADDOCK_TRY(const auto shared, buffer::create(std::move(from)));
    PADDOCK_TRY_VOID(source.open(shared, a.device()));
    PADDOCK_TRY_VOID(target.open(shared, b.device()));
    return source.iova();
  }

  use source;
  use target;
};
using device_window = window<paddock::vfio::bar_exporter, paddock::revocable, paddock::p2p_only>;
using system_window = window<paddock::memory_exporter, paddock::system_only>;

/// What to copy, and through which memory.
struct plan {
  nvme::controller* source{nullptr};
  nvme::controller* target{nullptr};
  std::uint64_t blocks{0};
  std::uint32_t chunk_blocks{0};              ///< Blocks a command.
  std::uint32_t slots{0};                     ///< Chunks that the window holds; at least 2.
  paddock::iova window;                       ///< Mapped for both drives; slots * chunk bytes.
  const device_window* memory{nullptr};       ///< Where that is in a drive's memory; null for the system's.
  const nvme::controller* provider{nullptr};  ///< That drive.
};

/// Watches a copy from outside.
struct observer {
  std::function<void(std::uint64_t blocks_done)> progress = [](std::uint64_t) {};
  const std::atomic<bool>* stop{nullptr};  ///< Set by a signal handler: end early, cleanly.
};

namespace detail {

/// Waits as the policy says, and turns what happened into words.
template <class Completion>
class drive {
 public:
  drive(nvme::controller& controller, const char* role) : controller_(controller), role_(role) {}

  [[nodiscard]] std::string name() const { return fmt::format("{} {}", role_, controller_.address()); }

  /// A command, or why it could not even be queued.
  [[nodiscard]] outcome<paddock::fence_ptr> queued(paddock::result<paddock::fence_ptr> command) const {
    return std::move(command).map_error([this](const paddock::error& why) { return refusal(why); });
  }

  /// Ok, or the error that the fence carries. `first` and `blocks` say what the command was about.
  [[nodiscard]] outcome<void> wait(const paddock::fence_ptr& fence, std::uint64_t first, std::uint32_t blocks) const {
    const auto waited =
        paddock::wait(*fence, paddock::deadline::in(controller_.io().timeout()), typename Completion::wait_policy{});
    if (!waited) {
      return tl::unexpected(refusal(waited.error()));
    }
    switch (*waited) {
      case paddock::wait_status::signaled: return {};
      case paddock::wait_status::timed_out:
        controller_.give_up();
        return failed(
            ending::failed,
            fmt::format("{} did not answer within {} s (blocks {} to {}); it was reset", name(),
                        std::chrono::duration<double>(controller_.io().timeout()).count(), first, first + blocks - 1));
      case paddock::wait_status::failed: break;
    }
    if (fence->sys_errno() == ENODEV) {
      return tl::unexpected(taken_away());
    }
    if (fence->sys_errno() != EIO) {
      return failed(ending::failed,
                    fmt::format("{}: {}, blocks {} to {}", name(), fence->error(), first, first + blocks - 1));
    }
    const nvme::status status = nvme::status_of(*fence);
    return failed(ending::failed, fmt::format("{}: {} (status {:#x}), blocks {} to {}", name(), nvme::describe(status),
                                              static_cast<unsigned>(status.raw), first, first + blocks - 1));
  }

 private:
  [[nodiscard]] failure refusal(const paddock::error& why) const {
    return why == paddock::errc::no_device ? taken_away() : failure{ending::failed, fmt::format("{}: {}", name(), why)};
  }
  [[nodiscard]] failure taken_away() const {
    return {ending::device_lost, fmt::format("{} was taken away in the middle of the copy", name())};
  }

  nvme::controller& controller_;
  const char* role_;
};

/// Finds the first block that fails, by reading one at a time into a window that nothing else uses any more.
template <class Completion>
[[nodiscard]] failure name_bad_block(nvme::controller& source, const drive<Completion>& drive, std::uint64_t first,
                                     std::uint32_t blocks, paddock::iova window, failure original) {
  if (original.how != ending::failed) {
    return original;
  }
  for (std::uint64_t block = first; block < first + blocks; ++block) {
    const auto read = source.read(block, 1, window);
    if (!read) {
      return original;
    }
    if (const auto done = drive.wait(*read, block, 1); !done) {
      if ((*read)->sys_errno() != EIO) {
        return done.error();
      }
      const nvme::status status = nvme::status_of(**read);
      return {original.how, fmt::format("{}: block {} (byte {}) cannot be read: {} (status {:#x})", drive.name(), block,
                                        block * source.identity().block_bytes, nvme::describe(status),
                                        static_cast<unsigned>(status.raw))};
    }
  }
  return original;
}

}  // namespace detail

/// Copies plan.blocks blocks. On return nothing is in flight any more, whatever happened.
/// In a window of n slots, half of them hold reads in flight and half writes: chunk i is read while chunk i - n/2 is
/// written, and a slot is read into again when the fence of its write has signaled.
template <class Completion>
[[nodiscard]] outcome<void> copy(const plan& p, const observer& watch) {
  const detail::drive<Completion> source(*p.source, "source");
  const detail::drive<Completion> target(*p.target, "target");
  const std::uint64_t chunk_bytes = std::uint64_t{p.chunk_blocks} * p.source->identity().block_bytes;
  const std::uint64_t chunks = (p.blocks + p.chunk_blocks - 1) / p.chunk_blocks;
  const std::uint64_t lag = p.slots / 2;

  struct slot {
    paddock::fence_ptr read;
    paddock::fence_ptr written;
  };
  std::vector<slot> slots(p.slots);
  const auto first_of = [&](std::uint64_t chunk) { return chunk * p.chunk_blocks; };
  const auto blocks_of = [&](std::uint64_t chunk) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(p.chunk_blocks, p.blocks - first_of(chunk)));
  };
  const auto window_of = [&](std::uint64_t chunk) { return p.window + (chunk % p.slots) * chunk_bytes; };
  const auto finish_write = [&](std::uint64_t chunk) -> outcome<void> {
    PADDOCK_TRY_VOID(target.wait(slots[chunk % p.slots].written, first_of(chunk), blocks_of(chunk)));
    watch.progress(first_of(chunk) + blocks_of(chunk));
    return {};
  };

  std::uint64_t reading = 0;                // Chunks before this one have been read, or are being read.
  std::uint64_t writing = 0;                // Likewise for written.
  std::optional<std::uint64_t> unreadable;  // The chunk in which a block could not be read.
  const auto run = [&]() -> outcome<void> {
    while (writing < chunks) {
      if (watch.stop != nullptr && watch.stop->load()) {
        return failed(ending::interrupted, "interrupted: the target holds a part of the source");
      }
      if (reading < chunks && reading < writing + lag) {
        slot& into = slots[reading % p.slots];
        if (reading >= p.slots) {
          PADDOCK_TRY_VOID(finish_write(reading - p.slots));
        }
        PADDOCK_TRY(into.read,
                    source.queued(p.source->read(first_of(reading), blocks_of(reading), window_of(reading))));
        ++reading;
        continue;
      }
      slot& from = slots[writing % p.slots];
      if (auto done = source.wait(from.read, first_of(writing), blocks_of(writing)); !done) {
        if (from.read->sys_errno() == EIO) {
          unreadable = writing;
        }
        return done;
      }
      PADDOCK_TRY(from.written,
                  target.queued(p.target->write(first_of(writing), blocks_of(writing), window_of(writing))));
      ++writing;
    }
    for (std::uint64_t chunk = chunks > p.slots ? chunks - p.slots : 0; chunk < chunks; ++chunk) {
      PADDOCK_TRY_VOID(finish_write(chunk));
    }
    PADDOCK_TRY(const auto flushed, target.queued(p.target->flush()));
    if (auto done = target.wait(flushed, 0, 1); !done) {
      return failed(done.error().how,
                    fmt::format("{}: flushing its cache failed: {}", target.name(), flushed->error()));
    }
    return {};
  };

  auto ended = run();
  if (!ended) {
    // The window must not be given back while a drive still reads or writes it.
    for (const slot& each : slots) {
      if (each.read) {
        static_cast<void>(source.wait(each.read, 0, 1));
      }
      if (each.written) {
        static_cast<void>(target.wait(each.written, 0, 1));
      }
    }
    if (unreadable) {
      ended = tl::unexpected<failure>(detail::name_bad_block(
          *p.source, source, first_of(*unreadable), blocks_of(*unreadable), window_of(*unreadable), ended.error()));
    }
  }
  if (p.memory != nullptr && p.memory->source.status() != paddock::mapping_status::live &&
      (ended || ended.error().how == ending::failed)) {
    // Writes to memory that is gone vanish without an error: neither success nor anybody else's failure is believed.
    return failed(ending::device_lost,
                  fmt::format("provider {} was taken away in the middle of the copy: the target holds wrong data",
                              p.provider->address()));
  }
  return ended;
}

/// Reads `blocks` blocks in order through system memory and hands each piece to `take`.
template <class Completion, class Take>
[[nodiscard]] outcome<void> read_all(nvme::controller& from, const char* role, std::uint64_t blocks,
                                     std::uint32_t chunk_blocks, const paddock::vfio::coherent_buffer& memory,
                                     const observer& watch, Take take) {
  const detail::drive<Completion> drive(from, role);
  const std::uint64_t chunk_bytes = std::uint64_t{chunk_blocks} * from.identity().block_bytes;
  // Two halves: one is being read while the other is looked at.
  paddock::fence_ptr pending;
  const auto size_at = [&](std::uint64_t first) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(chunk_blocks, blocks - first));
  };
  const auto half_at = [&](std::uint64_t first) { return (first / chunk_blocks % 2) * chunk_bytes; };
  const auto start = [&](std::uint64_t first) -> outcome<void> {
    PADDOCK_TRY(pending, drive.queued(from.read(first, size_at(first), memory.iova(half_at(first)))));
    return {};
  };

  PADDOCK_TRY_VOID(start(0));
  for (std::uint64_t first = 0; first < blocks; first += chunk_blocks) {
    if (auto done = drive.wait(pending, first, size_at(first)); !done) {
      return pending->sys_errno() != EIO
                 ? done
                 : tl::unexpected<failure>(detail::name_bad_block(from, drive, first, size_at(first),
                                                                  memory.iova(half_at(first)), done.error()));
    }
    if (first + chunk_blocks < blocks) {
      PADDOCK_TRY_VOID(start(first + chunk_blocks));
    }
    take(memory.bytes().subspan(half_at(first), std::size_t{size_at(first)} * from.identity().block_bytes));
    watch.progress(first + size_at(first));
    if (watch.stop != nullptr && watch.stop->load()) {
      static_cast<void>(drive.wait(pending, first, 1));
      return failed(ending::interrupted, "interrupted while verifying");
    }
  }
  return {};
}

}  // namespace nvme_copy
