// SPDX-License-Identifier: BSL-1.0
/// \file
/// nsync's one-shot event.
#pragma once

#include <nsync.h>

namespace paddock::bench {

class nsync_event {
 public:
  nsync_event() : note_(nsync::nsync_note_new(nullptr, nsync::nsync_time_no_deadline)) {}
  nsync_event(const nsync_event&) = delete;
  nsync_event& operator=(const nsync_event&) = delete;
  ~nsync_event() { nsync::nsync_note_free(note_); }

  [[nodiscard]] bool is_signaled() const { return nsync::nsync_note_is_notified(note_) != 0; }
  void signal() { nsync::nsync_note_notify(note_); }
  void wait() const { nsync::nsync_note_wait(note_, nsync::nsync_time_no_deadline); }

 private:
  nsync::nsync_note note_;
};

}  // namespace paddock::bench
