// SPDX-License-Identifier: BSL-1.0
/// \file
/// Work that takes locks and waits, done by a thread of its own for one that may not; a fence tells when it is over.
#pragma once

#include <memory>
#include <new>
#include <optional>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/detail/thread.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// Runs `work()`, which ends by `until`, in a thread. The fence completes with its answer.
/// Errors: invalid_argument (never), out_of_memory, limit_reached.
template <class Work>
[[nodiscard]] result<fence_ptr> run_in_thread(const char* name, deadline until, Work work) noexcept {
  struct job {
    fence_ptr done;
    std::optional<Work> work;
  };
  if (until.is_never()) {
    return fail(errc::invalid_argument, name);
  }
  // A context of its own: such jobs end in any order.
  fence_context alone(name, until.remaining());
  PADDOCK_TRY(fence_ptr done, alone.create());
  std::unique_ptr<job> started(new (std::nothrow) job{done, std::optional<Work>(std::move(work))});
  if (started == nullptr) {
    done->fail(errc::out_of_memory);
    return fail(errc::out_of_memory, name);
  }
  const auto run = [](void* given) noexcept -> void* {
    const std::unique_ptr<job> own(static_cast<job*>(given));
    const result<void> ended = (*own->work)();
    own->work.reset();  // Whoever sees the fence may take apart what the work needed.
    if (ended) {
      own->done->signal();
    } else {
      own->done->fail(ended.error().code);
    }
    return nullptr;
  };
  if (auto running = start_thread(run, started.get()); !running) {
    done->fail(errc::canceled);
    return fail(running.error());
  }
  static_cast<void>(started.release());
  return done;
}

}  // namespace PADDOCK_NAMESPACE::detail
