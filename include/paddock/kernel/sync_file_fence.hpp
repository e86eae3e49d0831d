// SPDX-License-Identifier: BSL-1.0
/// \file
/// A kernel fence as a fence of this process, and the way back: `export_sync_file`.
#pragma once

#include <poll.h>
#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <optional>
#include <utility>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/base/uapi/sync_file.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/merge.hpp>
#include <paddock/kernel/bridge_core.hpp>
#include <paddock/kernel/ready.hpp>
#include <paddock/kernel/sync_file.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// A sync_file as a fence. Made by kernel::fence_bridge.
class sync_file_fence final : public fence, private bridged {
 public:
  sync_file_fence(std::uint64_t context, std::uint64_t seqno, kernel::sync_file file,
                  boost::intrusive_ptr<bridge_core> bridge) noexcept
      : fence(parts{context, seqno, "sync_file", &operations, nullptr, fence_tag::kernel}),
        file_(std::move(file)),
        bridge_(std::move(bridge)) {}

  [[nodiscard]] const kernel::sync_file& file() const noexcept { return file_; }

 private:
  static const fence_ops operations;

  ~sync_file_fence() = default;

  /// The kernel says that it is done: takes over how.
  void finish() noexcept {
    std::array<uapi::sync_fence_info, 8> records{};
    uapi::sync_file_info head{};
    head.num_fences = static_cast<std::uint32_t>(records.size());
    head.sync_fence_info = reinterpret_cast<std::uintptr_t>(records.data());
    auto asked = ioctl(file_.fd(), uapi::sync_ioc_file_info, &head, "SYNC_IOC_FILE_INFO");
    if (!asked && asked.error().sys_errno == EINVAL) {  // More fences than records: their times are not looked at.
      head = {};
      asked = ioctl(file_.fd(), uapi::sync_ioc_file_info, &head, "SYNC_IOC_FILE_INFO");
      head.num_fences = 0;
    }
    if (!asked) {
      fail(asked.error().sys_errno);
      return;
    }
    std::uint64_t latest = 0;
    for (std::size_t i = 0; i < head.num_fences && i < records.size(); ++i) {
      latest = records[i].timestamp_ns > latest ? records[i].timestamp_ns : latest;
    }
    const monotonic_clock::time_point when =
        latest == 0 ? monotonic_clock::now()
                    : monotonic_clock::time_point(std::chrono::nanoseconds(static_cast<std::int64_t>(latest)));
    if (head.status < 0) {
      fail(-head.status, given_timestamp(when));
    } else {
      signal(when);
    }
  }
  /// Asks the kernel until it has answered or the deadline passes. A call that failed for want of something (ENOMEM) is
  /// no answer, and is made again: a fence that completes, with whatever error, says that the devices are done.
  void wait_here(deadline until) noexcept {
    for (;;) {
      const auto waited = wait_ready(file_.fd(), POLLIN, until);
      if (waited) {
        if (*waited == wait_status::signaled) {
          finish();
        }
        return;
      }
      if (waited.error() == errc::bad_fd || waited.error() == errc::io) {  // Nobody will ever know.
        fail(waited.error().sys_errno == 0 ? EIO : waited.error().sys_errno);
        return;
      }
      if (until.passed()) {
        return;
      }
      constexpr timespec pause{0, 1'000'000};
      ::nanosleep(&pause, nullptr);
    }
  }

  void ready(std::uint32_t events) noexcept override {
    const fence_ptr held = fence_ptr::adopt(this);  // The bridge's.
    if ((events & EPOLLERR) != 0) {
      fail(EIO);
    } else if ((events & EPOLLIN) != 0) {
      finish();
    } else {
      wait_here(deadline::never());  // Nobody can watch it. The promise is the kernel's, and holds.
    }
  }
  /// Somebody has to be told.
  void watch() noexcept {
    get();  // The bridge's: who has added a callback need not keep the fence.
    if (const auto added = bridge_->add(*this, file_.fd()); !added) {
      report_lost_error(added.error());
      wait_here(deadline::never());
      put();
    }
  }

  kernel::sync_file file_;
  const boost::intrusive_ptr<bridge_core> bridge_;
};

inline const fence_ops sync_file_fence::operations{
    .enable_signaling =
        [](fence& f) noexcept {
          static_cast<sync_file_fence&>(f).watch();
          return true;
        },
    .poll =
        [](fence& f) noexcept {
          static_cast<sync_file_fence&>(f).wait_here(deadline::now());
          return false;  // It has signaled itself.
        },
    .wait = [](fence& f, deadline until) noexcept { static_cast<sync_file_fence&>(f).wait_here(until); },
    .set_deadline =
        [](fence& f, deadline wish) noexcept {
          static_cast<void>(static_cast<sync_file_fence&>(f).file_.set_deadline(wish));  // A hint.
        },
    .release = [](fence& f) noexcept { delete &static_cast<sync_file_fence&>(f); },
};

}  // namespace PADDOCK_NAMESPACE::detail

namespace PADDOCK_NAMESPACE::kernel {

/// The kernel's form of a fence, or of all that it stands for: what fence_bridge and implicit_sync imported, and what
/// is complete (whose error is forgotten, as in the kernel's merge). An empty pointer is complete. Errors:
/// not_exportable (something pending in it is not the kernel's: a driver of this process will signal it, on which no
/// other process may depend), limit_reached, out_of_memory.
[[nodiscard]] inline result<sync_file> export_sync_file(const fence_ptr& of) noexcept {
  sync_file merged = sync_file::already_signaled();
  std::optional<error> failed;
  for_each_leaf(of, [&](fence& leaf) noexcept {
    if (failed || leaf.is_signaled()) {
      return;
    }
    if (!leaf.is_kernel_backed()) {
      failed = error{errc::not_exportable, 0, "export_sync_file"};
      return;
    }
    auto both = sync_file::merge(merged, static_cast<detail::sync_file_fence&>(leaf).file());
    if (both) {
      merged = std::move(*both);
    } else {
      failed = both.error();
    }
  });
  if (failed) {
    return fail(*failed);
  }
  return merged;
}

}  // namespace PADDOCK_NAMESPACE::kernel
