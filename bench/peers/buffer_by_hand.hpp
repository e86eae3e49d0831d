// SPDX-License-Identifier: BSL-1.0
/// \file
/// A shared buffer as it is written by hand from the standard library: its users keep it by a std::shared_ptr, and
/// stand in a std::list under a std::mutex, so that the owner knows them. It stays where it is, so a map asks nobody,
/// unless there are fences to look at.
#pragma once

#include <algorithm>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <paddock/fence/fence.hpp>

namespace paddock::bench {

class user_by_hand;

struct buffer_by_hand {
  explicit buffer_by_hand(std::size_t size) : bytes(size) {}

  std::vector<std::byte> bytes;
  std::mutex mutex;
  std::list<user_by_hand*> users;  ///< Under the mutex, as the fences.
  std::vector<fence_ptr> fences;
};

class user_by_hand {
 public:
  void attach(std::shared_ptr<buffer_by_hand> to) {
    buffer_ = std::move(to);
    const std::scoped_lock guard(buffer_->mutex);
    here_ = buffer_->users.insert(buffer_->users.end(), this);
  }
  /// Null while a fence is pending.
  [[nodiscard]] std::byte* map_when_done() {
    {
      const std::scoped_lock guard(buffer_->mutex);
      if (!std::ranges::all_of(buffer_->fences, [](const fence_ptr& each) { return each->is_signaled(); })) {
        return nullptr;
      }
    }
    return map();
  }
  [[nodiscard]] std::byte* map() noexcept {
    ++mappings_;
    return buffer_->bytes.data();
  }
  void unmap() noexcept { --mappings_; }
  /// False while it is mapped.
  bool detach() {
    if (mappings_ != 0) {
      return false;
    }
    {
      const std::scoped_lock guard(buffer_->mutex);
      buffer_->users.erase(here_);
    }
    buffer_.reset();
    return true;
  }

 private:
  std::shared_ptr<buffer_by_hand> buffer_;
  std::list<user_by_hand*>::iterator here_;
  std::size_t mappings_{0};
};

}  // namespace paddock::bench
