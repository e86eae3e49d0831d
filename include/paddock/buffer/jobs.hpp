// SPDX-License-Identifier: BSL-1.0
/// \file
/// `jobs`: what an importer says of its jobs in flight when the storage is about to move.
#pragma once

#include <cstdint>
#include <utility>

#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>

namespace PADDOCK_NAMESPACE {

/// The answer of on_invalidate. A move waits for all jobs of the buffer but for those that are requeued: a job that has
/// not started would wait for the move in turn.
class jobs {
 public:
  /// As wait().
  jobs() noexcept = default;
  /// They end by themselves, and are waited for.
  [[nodiscard]] static jobs wait() noexcept { return {}; }
  /// The importer has told the hardware to drop them: their fences fail soon, and are waited for.
  [[nodiscard]] static jobs cancel() noexcept { return {}; }
  /// The hardware does not touch the storage on behalf of `first` and what comes after it in its context any more: they
  /// begin (again) with a new mapping, and are not waited for.
  [[nodiscard]] static jobs requeue(fence& first) noexcept { return {first.context(), fence_ptr(first)}; }
  /// The same for all jobs of a context.
  [[nodiscard]] static jobs requeue(const fence_context& all) noexcept { return {all.id(), fence_ptr()}; }

  /// Whether some are not waited for.
  [[nodiscard]] bool are_requeued() const noexcept { return context_ != 0; }
  /// Whether a move has to wait for that fence, as far as this importer is concerned.
  [[nodiscard]] bool awaits(const fence& job) const noexcept {
    return context_ == 0 || job.context() != context_ || (first_ && first_->is_later_than(job));
  }

 private:
  jobs(std::uint64_t context, fence_ptr first) noexcept : context_(context), first_(std::move(first)) {}

  std::uint64_t context_{0};
  fence_ptr first_;
};

}  // namespace PADDOCK_NAMESPACE
