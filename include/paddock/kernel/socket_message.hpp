// SPDX-License-Identifier: BSL-1.0
/// \file
/// What two processes send each other: one packet of fixed size, and descriptors.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/layout.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/ready.hpp>

namespace PADDOCK_NAMESPACE::detail {

enum class message_kind : std::uint32_t { buffers = 1, fence = 2, revoke = 3, released = 4 };

/// Fixed in size and order, without padding: what the other process sends is never taken for more than numbers. Its
/// version changes with it.
struct wire_message {
  static constexpr std::uint64_t magic_and_version = 0x7061'6464'6f63'6b01;  // "paddock", 1

  struct plane {
    std::uint64_t buffer{0}, offset{0}, stride{0};
  };
  struct buffer {
    std::uint64_t device{0}, inode{0}, size{0};
  };

  std::uint64_t magic{magic_and_version};
  message_kind kind{};
  std::uint32_t format{0};
  std::uint64_t tag{0};
  std::uint64_t modifier{0};
  std::uint32_t width{0}, height{0};
  std::uint32_t plane_count{0}, buffer_count{0};
  std::array<plane, layout::max_planes> planes{};
  std::array<buffer, layout::max_planes> buffers{};

  void put(const layout& picture) noexcept {
    format = picture.format.value();
    modifier = picture.modifier.value();
    width = picture.width;
    height = picture.height;
    plane_count = picture.plane_count;
    buffer_count = picture.buffer_count;
    for (std::size_t i = 0; i < planes.size(); ++i) {
      planes[i] = {picture.planes[i].buffer, picture.planes[i].offset, picture.planes[i].stride};
    }
  }
  /// As it was said; check() judges it.
  [[nodiscard]] layout picture() const noexcept {
    layout made;
    made.format = fourcc(format);
    made.modifier = format_modifier(modifier);
    made.width = width;
    made.height = height;
    made.plane_count = plane_count;
    made.buffer_count = buffer_count;
    for (std::size_t i = 0; i < planes.size(); ++i) {
      const bool is_in_range = planes[i].buffer < layout::max_planes;
      made.planes[i] = {is_in_range ? static_cast<std::uint32_t>(planes[i].buffer) : UINT32_MAX, planes[i].offset,
                        planes[i].stride};
    }
    return made;
  }
};
static_assert(std::is_trivially_copyable_v<wire_message> && std::has_unique_object_representations_v<wire_message>);

/// What came with a message; closed with this object.
struct received_fds {
  std::array<unique_fd, layout::max_planes> fds;
  std::size_t count{0};
};

/// Errors: bad_fd.
[[nodiscard]] inline result<void> prepare_socket(borrowed_fd socket) noexcept {
  int domain = 0;
  int type = 0;
  socklen_t size = sizeof domain;
  if (!socket.valid() || ::getsockopt(socket.get(), SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 || domain != AF_UNIX ||
      type != SOCK_SEQPACKET) {
    return fail(errc::bad_fd, "buffer_channel: not a Unix socket of packets");
  }
  // Whoever made it may have asked for what takes the room of descriptors, or is one (SO_PASSPIDFD, since 6.5).
  constexpr int pass_pidfd = 76;
  constexpr int no = 0;
  for (const int option : {SO_PASSCRED, SO_PASSSEC, pass_pidfd}) {
    static_cast<void>(::setsockopt(socket.get(), SOL_SOCKET, option, &no, sizeof no));
  }
  return {};
}

/// Errors: timed_out, disconnected, limit_reached.
[[nodiscard]] inline result<void> send_message(borrowed_fd socket, const wire_message& message,
                                               std::span<const borrowed_fd> fds, deadline until) noexcept {
  iovec text{const_cast<wire_message*>(&message), sizeof message};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * layout::max_planes)> room{};
  msghdr packet{};
  packet.msg_iov = &text;
  packet.msg_iovlen = 1;
  if (!fds.empty()) {
    packet.msg_control = room.data();
    packet.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* const rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    for (std::size_t i = 0; i < fds.size(); ++i) {
      const int number = fds[i].get();
      std::memcpy(CMSG_DATA(rights) + i * sizeof number, &number, sizeof number);
    }
  }
  for (;;) {
    const auto sent = retry<false>([&] { return ::sendmsg(socket.get(), &packet, MSG_DONTWAIT | MSG_NOSIGNAL); });
    if (sent == static_cast<ssize_t>(sizeof message)) {
      return {};
    }
    if (sent >= 0) {
      return fail(errc::unexpected, "sendmsg");
    }
    if (errno == ETOOMANYREFS) {
      return fail({errc::limit_reached, ETOOMANYREFS, "sendmsg"});
    }
    if (errno != EAGAIN) {
      return fail_errno("sendmsg");
    }
    pollfd entry{socket.get(), POLLOUT, 0};
    PADDOCK_TRY(const int ready, poll(&entry, 1, until));
    if (ready == 0) {
      return fail(errc::timed_out, "buffer_channel::send");
    }
  }
}

/// Errors: timed_out, disconnected, invalid_argument, limit_reached.
[[nodiscard]] inline result<void> receive_message(borrowed_fd socket, wire_message& message, received_fds& fds,
                                                  deadline until) noexcept {
  wire_message text;
  iovec into{&text, sizeof text};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * layout::max_planes)> room{};
  msghdr packet{};
  ssize_t got = -1;
  for (;;) {
    packet = {};
    packet.msg_iov = &into;
    packet.msg_iovlen = 1;
    packet.msg_control = room.data();
    packet.msg_controllen = room.size();
    got = retry<false>([&] { return ::recvmsg(socket.get(), &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC); });
    if (got >= 0 || errno != EAGAIN) {
      break;
    }
    pollfd entry{socket.get(), POLLIN, 0};
    PADDOCK_TRY(const int ready, poll(&entry, 1, until));
    if (ready == 0) {
      return fail(errc::timed_out, "buffer_channel::receive");
    }
  }
  if (got < 0) {
    return fail_errno("recvmsg");
  }
  // First of all whatever was given belongs to somebody.
  bool is_too_many = false;
  for (cmsghdr* each = CMSG_FIRSTHDR(&packet); each != nullptr; each = CMSG_NXTHDR(&packet, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    for (std::size_t at = 0; at + sizeof(int) <= each->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(each) + at, sizeof number);
      unique_fd owned = unique_fd::adopt(number);
      if (fds.count < fds.fds.size()) {
        fds.fds[fds.count++] = std::move(owned);
      } else {
        is_too_many = true;
      }
    }
  }
  if (got == 0 && fds.count == 0) {
    // Or a packet of nothing.
    pollfd entry{socket.get(), POLLRDHUP, 0};
    PADDOCK_TRY(const int is_closed, poll(&entry, 1, deadline::now()));
    if (is_closed != 0) {
      return fail(errc::disconnected, "buffer_channel::receive");
    }
  }
  if (is_too_many || (packet.msg_flags & MSG_CTRUNC) != 0) {
    return fail(errc::limit_reached, "buffer_channel: more descriptors than there is room for");
  }
  if (got != static_cast<ssize_t>(sizeof text) || (packet.msg_flags & MSG_TRUNC) != 0 ||
      text.magic != wire_message::magic_and_version) {
    return fail(errc::invalid_argument, "buffer_channel: no message of paddock's, or of another version");
  }
  message = text;
  return {};
}

}  // namespace PADDOCK_NAMESPACE::detail
