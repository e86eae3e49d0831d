// SPDX-License-Identifier: BSL-1.0
/// \file
/// One thread that sleeps until a descriptor is readable and then calls whoever asked for it: the completion-queue
/// walker, and the one who answers when the kernel wants a device back.
#pragma once

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <functional>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>

namespace nvme_copy {

class event_thread {
 public:
  event_thread() = default;
  event_thread(const event_thread&) = delete;
  event_thread& operator=(const event_thread&) = delete;
  ~event_thread() { stop(); }

  /// Before start(). The descriptor must stay open until stop().
  void on_readable(paddock::borrowed_fd fd, std::function<void()> call) { watched_.push_back({fd, std::move(call)}); }

  [[nodiscard]] paddock::result<void> start() {
    wake_ = paddock::unique_fd::adopt(::eventfd(0, EFD_CLOEXEC));
    if (!wake_.valid()) {
      return paddock::fail_errno("eventfd");
    }
    const int error = ::pthread_create(
        &thread_, nullptr,
        [](void* self) -> void* {
          static_cast<event_thread*>(self)->run();
          return nullptr;
        },
        this);
    if (error != 0) {
      return paddock::fail(paddock::error_from_errno(error, "pthread_create"));
    }
    running_ = true;
    return {};
  }

  void stop() {
    if (std::exchange(running_, false)) {
      const std::uint64_t one = 1;
      static_cast<void>(!::write(wake_.get(), &one, sizeof one));
      ::pthread_join(thread_, nullptr);
    }
  }

 private:
  struct watch {
    paddock::borrowed_fd fd;
    std::function<void()> call;
  };

  void run() {
    std::vector<pollfd> entries{{wake_.get(), POLLIN, 0}};
    for (const watch& each : watched_) {
      entries.push_back({each.fd.get(), POLLIN, 0});
    }
    for (;;) {
      const auto ready = paddock::detail::poll(entries.data(), entries.size(), paddock::deadline::never());
      if (!ready || entries[0].revents != 0) {
        return;
      }
      for (std::size_t i = 0; i < watched_.size(); ++i) {
        if (entries[i + 1].revents != 0) {
          std::uint64_t count = 0;
          static_cast<void>(!::read(watched_[i].fd.get(), &count, sizeof count));
          watched_[i].call();
        }
      }
    }
  }

  std::vector<watch> watched_;
  paddock::unique_fd wake_;
  pthread_t thread_{};
  bool running_{false};
};

}  // namespace nvme_copy
