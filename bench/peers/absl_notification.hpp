// SPDX-License-Identifier: BSL-1.0
/// \file
/// Abseil's one-shot event.
#pragma once

#include <absl/synchronization/notification.h>

namespace paddock::bench {

class absl_notification {
 public:
  [[nodiscard]] bool is_signaled() const { return notification_.HasBeenNotified(); }
  void signal() { notification_.Notify(); }
  void wait() const { notification_.WaitForNotification(); }

 private:
  absl::Notification notification_;
};

}  // namespace paddock::bench
