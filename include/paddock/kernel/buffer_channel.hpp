// SPDX-License-Identifier: BSL-1.0
/// \file
/// `kernel::buffer_channel`: buffers, layouts and fences from one process to another, over a Unix socket.
/// Kernel: unix(7), SCM_RIGHTS.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/layout.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>
#include <paddock/kernel/ready.hpp>
#include <paddock/kernel/socket_message.hpp>
#include <paddock/kernel/sync_file.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// A picture, or plain bytes (a layout without planes), in buffers that the other process shares. `tag` is the sender's
/// word for it. The buffers are those of layout::buffers, in their order: known by id(), so that who has one already
/// finds it by that.
struct shared_buffers {
  std::uint64_t tag{0};
  paddock::layout layout;
  std::array<dma_buf_fd, paddock::layout::max_planes> buffers;
};
/// Work that the other process has submitted.
struct shared_fence {
  std::uint64_t tag{0};
  sync_file fence{sync_file::already_signaled()};
};
/// The other process wants a buffer of its own back: let go of it (devices, mappings, descriptors), and say so with
/// buffer_channel::send_released(). What the kernel takes back in the end it takes without asking.
struct revoke_request {
  buffer_id buffer;
};
/// The other process has let go of a buffer.
struct buffer_released {
  buffer_id buffer;
};
using channel_message = std::variant<shared_buffers, shared_fence, revoke_request, buffer_released>;

/// One end of a connection to another process that uses paddock, of the same version. Whatever the other end sends, or
/// does not send, costs an error here and nothing else: descriptors that came with it are closed, and the next message
/// can be received. Thread-safety: one thread at a time.
class buffer_channel {
 public:
  /// Two ends, for a fork or a socket that is passed on. Errors: limit_reached.
  [[nodiscard]] static result<std::pair<buffer_channel, buffer_channel>> pair() noexcept {
    int ends[2]{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      return fail_errno("socketpair");
    }
    return std::pair(buffer_channel(unique_fd::adopt(ends[0])), buffer_channel(unique_fd::adopt(ends[1])));
  }
  /// Takes a connected socket, and turns off what else could come with messages (SO_PASSCRED, SO_PASSSEC,
  /// SO_PASSPIDFD). Errors: bad_fd (not a Unix socket of type SOCK_SEQPACKET).
  [[nodiscard]] static result<buffer_channel> adopt(unique_fd socket) noexcept {
    PADDOCK_TRY_VOID(detail::prepare_socket(socket));
    return buffer_channel(std::move(socket));
  }

  /// Readable when receive() has something to do.
  [[nodiscard]] borrowed_fd fd() const noexcept { return socket_.borrow(); }
  /// Gives the socket away. What was received by await_released() and not asked for is lost.
  [[nodiscard]] unique_fd release() && noexcept { return std::move(socket_); }

  // Sending. Errors: timed_out (the other end does not read); disconnected; limit_reached (the kernel bounds the
  // descriptors under way).

  /// Gives these buffers to the other process: with `picture` as they lie in them, whose ids are filled in here, or
  /// with a layout without planes. What only this process can signal must be done: see implicit_sync::flush_implicit().
  /// Errors: also invalid_argument (none, more than 8, one twice, or a layout that does not fit them: see check()).
  [[nodiscard]] result<void> send(std::span<const dma_buf_ref> buffers, layout picture, std::uint64_t tag,
                                  deadline until) noexcept;
  /// Gives a fence of the kernel's, see export_sync_file().
  [[nodiscard]] result<void> send(const sync_file& fence, std::uint64_t tag, deadline until) noexcept;
  /// Asks for a buffer back. await_released() waits for the answer.
  [[nodiscard]] result<void> send_revoke(buffer_id buffer, deadline until) noexcept {
    return send_notice(detail::message_kind::revoke, buffer, until);
  }
  /// Says that this process has let go of a buffer.
  [[nodiscard]] result<void> send_released(buffer_id buffer, deadline until) noexcept {
    return send_notice(detail::message_kind::released, buffer, until);
  }

  // Receiving. Errors: timed_out; disconnected; invalid_argument (no message of paddock's, of another version, or one
  // that says other things than its descriptors are); bad_fd (descriptors that are none of dma-bufs or sync_files);
  // limit_reached (no room for the descriptors: they are lost).

  /// The next message.
  [[nodiscard]] result<channel_message> receive(deadline until);
  /// Waits for the other process to let go of a buffer; other messages are kept for receive(), 64 at most. What it has
  /// kept in spite of its word, dma_buf::reclaim() finds. Errors: also limit_reached (so many that came before the
  /// answer are to be received first).
  [[nodiscard]] result<void> await_released(buffer_id buffer, deadline until);

 private:
  explicit buffer_channel(unique_fd socket) noexcept : socket_(std::move(socket)) {}
  [[nodiscard]] result<void> send_notice(detail::message_kind kind, buffer_id about, deadline until) noexcept {
    detail::wire_message message;
    message.kind = kind;
    message.buffers[0] = {about.device, about.inode, 0};
    return detail::send_message(socket_, message, {}, until);
  }
  [[nodiscard]] result<channel_message> receive_next(deadline until);
  [[nodiscard]] static result<channel_message> read(const detail::wire_message& from, detail::received_fds& fds);

  static constexpr std::size_t most_kept = 64;

  unique_fd socket_;
  std::deque<channel_message> kept_;
};

inline result<void> buffer_channel::send(std::span<const dma_buf_ref> buffers, layout picture, std::uint64_t tag,
                                         deadline until) noexcept {
  if (buffers.empty() || buffers.size() > layout::max_planes) {
    return fail(errc::invalid_argument, "buffer_channel::send: 1 to 8 buffers");
  }
  detail::wire_message message;
  message.kind = detail::message_kind::buffers;
  message.tag = tag;
  std::array<borrowed_fd, layout::max_planes> fds;
  std::array<std::uint64_t, layout::max_planes> sizes{};
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    for (std::size_t before = 0; before < i; ++before) {
      if (buffers[before].id() == buffers[i].id()) {
        return fail(errc::invalid_argument, "buffer_channel::send: one buffer twice");
      }
    }
    fds[i] = buffers[i].fd();
    sizes[i] = buffers[i].size();
    picture.buffers[i] = buffers[i].id();
    message.buffers[i] = {buffers[i].id().device, buffers[i].id().inode, sizes[i]};
  }
  if (picture.plane_count != 0) {
    PADDOCK_TRY_VOID(check(picture, std::span(sizes).first(buffers.size())));
  }
  picture.buffer_count = static_cast<std::uint32_t>(buffers.size());
  message.put(picture);
  return detail::send_message(socket_, message, std::span(fds).first(buffers.size()), until);
}

inline result<void> buffer_channel::send(const sync_file& fence, std::uint64_t tag, deadline until) noexcept {
  detail::wire_message message;
  message.kind = detail::message_kind::fence;
  message.tag = tag;
  const borrowed_fd fd = fence.fd();
  if (!fence.is_already_signaled() && !fd.valid()) {
    return fail(errc::bad_fd, "buffer_channel::send: a fence that was moved away");
  }
  message.buffer_count = fence.is_already_signaled() ? 0U : 1U;
  return detail::send_message(socket_, message, {&fd, message.buffer_count}, until);
}

inline result<channel_message> buffer_channel::receive(deadline until) {
  if (!kept_.empty()) {
    channel_message next = std::move(kept_.front());
    kept_.pop_front();
    return next;
  }
  return receive_next(until);
}

inline result<void> buffer_channel::await_released(buffer_id buffer, deadline until) {
  const auto is_it = [&](const channel_message& each) {
    const auto* const released = std::get_if<buffer_released>(&each);
    return released != nullptr && released->buffer == buffer;
  };
  if (const auto known = std::find_if(kept_.begin(), kept_.end(), is_it); known != kept_.end()) {
    kept_.erase(known);
    return {};
  }
  // Who sends other things without end neither fills this process nor keeps it beyond the deadline.
  while (kept_.size() < most_kept) {
    PADDOCK_TRY(channel_message next, receive_next(until));
    if (is_it(next)) {
      return {};
    }
    kept_.push_back(std::move(next));
    if (until.passed() && !until.is_poll()) {
      return fail(errc::timed_out, "buffer_channel::await_released");
    }
  }
  return fail(errc::limit_reached, "buffer_channel::await_released: messages to be received first");
}

inline result<channel_message> buffer_channel::receive_next(deadline until) {
  detail::wire_message message;
  detail::received_fds fds;
  PADDOCK_TRY_VOID(detail::receive_message(socket_, message, fds, until));
  return read(message, fds);
}

inline result<channel_message> buffer_channel::read(const detail::wire_message& from, detail::received_fds& fds) {
  const auto refuse = [](const char* why) { return fail(errc::invalid_argument, why); };
  const auto id_of = [&](std::size_t i) { return buffer_id{from.buffers[i].device, from.buffers[i].inode}; };
  switch (from.kind) {
    case detail::message_kind::buffers: {
      shared_buffers made;
      made.tag = from.tag;
      made.layout = from.picture();
      if (made.layout.buffer_count != fds.count || fds.count == 0) {
        return refuse("buffer_channel: not as many descriptors as buffers");
      }
      std::array<std::uint64_t, layout::max_planes> sizes{};
      for (std::size_t i = 0; i < fds.count; ++i) {
        PADDOCK_TRY(made.buffers[i], dma_buf_fd::adopt(std::move(fds.fds[i])));
        sizes[i] = made.buffers[i].size();
        if (made.buffers[i].id() != id_of(i) || sizes[i] != from.buffers[i].size) {
          return refuse("buffer_channel: another buffer, or of another size, than was announced");
        }
        made.layout.buffers[i] = made.buffers[i].id();
      }
      if (made.layout.plane_count != 0) {
        PADDOCK_TRY_VOID(check(made.layout, std::span(sizes).first(fds.count)));
      }
      return channel_message(std::move(made));
    }
    case detail::message_kind::fence: {
      if (fds.count > 1 || fds.count != from.buffer_count) {  // Lost, it must not read as signaled.
        return refuse("buffer_channel: a fence has one descriptor, or none, as announced");
      }
      PADDOCK_TRY(sync_file fence, sync_file::adopt_or_signaled(std::move(fds.fds[0])));
      return channel_message(shared_fence{from.tag, std::move(fence)});
    }
    case detail::message_kind::revoke:
    case detail::message_kind::released:
      if (fds.count != 0) {
        return refuse("buffer_channel: descriptors with a notice");
      }
      return from.kind == detail::message_kind::revoke ? channel_message(revoke_request{id_of(0)})
                                                       : channel_message(buffer_released{id_of(0)});
  }
  return refuse("buffer_channel: a message of no known kind");
}

}  // namespace PADDOCK_NAMESPACE::kernel
