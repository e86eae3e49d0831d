// SPDX-License-Identifier: BSL-1.0
/// \file
/// A thread of the library's own.
#pragma once

#include <pthread.h>

#include <csignal>

#include <paddock/base/error.hpp>
#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// Starts a thread that nobody joins. Signals are the program's: it takes none.
/// Errors: limit_reached when none can be started.
[[nodiscard]] inline result<void> start_thread(void* (*run)(void*) noexcept, void* argument) noexcept {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t detached;
  ::pthread_attr_init(&detached);
  ::pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  pthread_t thread{};
  const int refused = ::pthread_create(&thread, &detached, run, argument);
  ::pthread_attr_destroy(&detached);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (refused != 0) {
    return fail(errc::limit_reached, "pthread_create");
  }
  return {};
}

}  // namespace PADDOCK_NAMESPACE::detail
