// SPDX-License-Identifier: BSL-1.0
/// \file
/// What is one an open DRM file description: its GEM handles, and whether its device is gone.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
#include <xf86drm.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>

#include <boost/intrusive/set.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/process_id.hpp>
#include <paddock/detail/process_page.hpp>
#include <paddock/fence/user_fence.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// A GEM handle of a file, and how many in this process hold it: the kernel counts imports of one buffer once.
struct gem_entry final : boost::intrusive::set_base_hook<> {
  explicit gem_entry(std::uint32_t of) noexcept : handle(of) {}
  gem_entry(const gem_entry&) = delete;
  gem_entry& operator=(const gem_entry&) = delete;
  ~gem_entry() = default;

  const std::uint32_t handle;
  std::uint32_t uses{1};
};

class drm_file_registry;

/// An open file description of a DRM device. Descriptors that were dup'ed share it: dup() isolates nothing.
/// Thread-safety: any thread.
class drm_file {
 public:
  drm_file(const drm_file&) = delete;
  drm_file& operator=(const drm_file&) = delete;

  /// What was asked when it was opened.
  struct traits {
    bool is_primary{false};
    std::uint8_t capabilities{0};
    std::array<char, 32> driver{};
  };

  [[nodiscard]] borrowed_fd fd() const noexcept { return fd_.borrow(); }
  [[nodiscard]] const traits& about() const noexcept { return about_; }
  /// A forked child has the same open file: what it closes there, its parent has no more.
  [[nodiscard]] bool is_of_this_process() const noexcept { return process_ == process_id(); }
  /// Signaled once the device is gone.
  [[nodiscard]] const user_fence& lost() const noexcept { return lost_; }

  /// The handle of a syncobj that nobody ever submits to, see drm::device::guard(); 0: not made yet.
  std::atomic<std::uint32_t> guard_handle{0};

  /// One more use of the handle that `import` gets from the kernel; it is closed by nobody meanwhile.
  /// `import(handle)` is a result<void>, and runs no callbacks: they may drop handles.
  template <class Import>
  [[nodiscard]] result<gem_entry*> add_use(Import import) noexcept {
    const std::lock_guard guard(mutex_);
    std::uint32_t handle = 0;
    PADDOCK_TRY_VOID(import(handle));
    const auto known = handles_.find(handle);
    if (known != handles_.end()) {
      ++known->uses;
      return &*known;
    }
    auto* const made = new (std::nothrow) gem_entry(handle);
    if (made == nullptr) {
      return fail(errc::out_of_memory, "gem");
    }
    handles_.insert(*made);
    return made;
  }
  void add_use(gem_entry& held) noexcept {
    const std::lock_guard guard(mutex_);
    ++held.uses;
  }
  /// One use less; the last one closes the handle by `close(handle)`, which no import comes between, and which runs no
  /// callbacks.
  template <class Close>
  void drop_use(gem_entry& held, Close close) noexcept {
    const std::lock_guard guard(mutex_);
    if (--held.uses == 0) {
      handles_.erase(handles_.iterator_to(held));
      close(held.handle);
      delete &held;
    }
  }

 private:
  friend class drm_file_registry;
  friend void intrusive_ptr_add_ref(drm_file* held) noexcept { held->references_.fetch_add(1); }
  friend inline void intrusive_ptr_release(drm_file* held) noexcept;

  struct handle_of {
    using type = std::uint32_t;
    std::uint32_t operator()(const gem_entry& entry) const noexcept { return entry.handle; }
  };

  drm_file(unique_fd fd, const traits& about, user_fence lost, std::uint64_t device) noexcept
      : fd_(std::move(fd)), about_(about), lost_(std::move(lost)), device_(device) {}
  /// The file may go on by somebody else's descriptor.
  ~drm_file() {
    if (const std::uint32_t guard = guard_handle.load(); guard != 0 && is_of_this_process()) {
      static_cast<void>(::drmSyncobjDestroy(fd_.get(), guard));
    }
  }

  unique_fd fd_;
  const pid_t process_{process_id()};
  traits about_;
  user_fence lost_;
  std::uint64_t device_;  ///< st_rdev.
  drm_file_registry* registry_{nullptr};
  void (*destroy_)(drm_file*) noexcept {[](drm_file* gone) noexcept { delete gone; }};  ///< Of who made it.
  drm_file* next_{nullptr};
  std::atomic<std::uint64_t> references_{1};  ///< 0: it goes, and is found no more.

  std::mutex mutex_;
  boost::intrusive::set<gem_entry, boost::intrusive::key_of_value<handle_of>> handles_;
};

using drm_file_ptr = boost::intrusive_ptr<drm_file>;

/// The DRM files of this process, which all shared objects with the same version of paddock have in common.
class drm_file_registry {
 public:
  /// Errors: those of process_page(), but for not_found: without /proc each shared object has its own.
  [[nodiscard]] static result<drm_file_registry*> here() noexcept {
#if defined(PADDOCK_CHECKED)
    static constexpr const char* name = "paddock-drm-files-0.1-checked";
#else
    static constexpr const char* name = "paddock-drm-files-0.1";
#endif
    static_assert(PADDOCK_VERSION_MAJOR == 0 && PADDOCK_VERSION_MINOR == 1, "the name goes with the layout");
    static std::atomic<drm_file_registry*> known{nullptr};
    if (drm_file_registry* const found = known.load(); found != nullptr) {
      return found;
    }
    result<drm_file_registry*> found = process_page<drm_file_registry>(name);
    if (!found && found.error() == errc::not_found) {
      static drm_file_registry own;
      found = &own;
    }
    if (found) {
      known = *found;
    }
    return found;
  }

  /// The file that `fd` is a descriptor of: one that is known, and then `fd` is closed, or a new one.
  /// Errors: out_of_memory; as fstat.
  [[nodiscard]] result<drm_file_ptr> find_or_make(unique_fd fd, const drm_file::traits& about) noexcept {
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) {
      return fail_errno("fstat");
    }
    const std::uint64_t device = status.st_rdev;
    PADDOCK_TRY(user_fence lost, user_fence::create("drm: the device is gone"));
    const std::lock_guard guard(mutex_);
    for (drm_file* each = first_; each != nullptr; each = each->next_) {
      if (each->device_ == device && is_one_file(each->fd_, fd) && revive(*each)) {
        return drm_file_ptr(each, false);
      }
    }
    auto* const made = new (std::nothrow) drm_file(std::move(fd), about, std::move(lost), device);
    if (made == nullptr) {
      return fail(errc::out_of_memory, "drm::device");
    }
    made->registry_ = this;
    made->next_ = std::exchange(first_, made);
    return drm_file_ptr(made, false);
  }
  /// Its last reference is gone.
  void remove(drm_file& gone) noexcept {
    {
      const std::lock_guard guard(mutex_);
      drm_file** at = &first_;
      while (*at != &gone) {
        at = &(*at)->next_;
      }
      *at = gone.next_;
    }
    gone.destroy_(&gone);
  }

 private:
  /// One more reference, unless the last one goes just now.
  [[nodiscard]] static bool revive(drm_file& found) noexcept {
    std::uint64_t held = found.references_.load();
    while (held != 0 && !found.references_.compare_exchange_weak(held, held + 1)) {
    }
    return held != 0;
  }
  /// False also where the kernel does not tell: before 6.10 by kcmp alone, which sandboxes forbid.
  [[nodiscard]] static bool is_one_file(borrowed_fd a, borrowed_fd b) noexcept {
    constexpr int dupfd_query = 1024 + 3;
    if (const int answer = ::fcntl(a.get(), dupfd_query, b.get()); answer >= 0) {
      return answer == 1;
    }
    constexpr long kcmp_file = 0;
    const pid_t self = ::getpid();
    return ::syscall(SYS_kcmp, self, self, kcmp_file, a.get(), b.get()) == 0;
  }

  std::mutex mutex_;
  drm_file* first_{nullptr};
};

inline void intrusive_ptr_release(drm_file* held) noexcept {
  if (held->references_.fetch_sub(1) == 1) {
    held->registry_->remove(*held);
  }
}

}  // namespace PADDOCK_NAMESPACE::detail
