// SPDX-License-Identifier: BSL-1.0
/// \file
/// What this process has open and running, and messages such as another one may send.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <vector>

#include <paddock/base/fd.hpp>

#include "catch.hpp"

namespace paddock::test {

inline std::ptrdiff_t entries_of(const char* folder) {
  return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
}
inline std::ptrdiff_t threads() { return entries_of("/proc/self/task"); }
inline std::ptrdiff_t descriptors() { return entries_of("/proc/self/fd"); }

/// Any bytes, with any descriptors.
inline void send_raw(borrowed_fd socket, const void* bytes, std::size_t size, const std::vector<int>& fds) {
  iovec text{const_cast<void*>(bytes), size};
  std::vector<std::byte> room(CMSG_SPACE(sizeof(int) * fds.size()));
  msghdr packet{};
  packet.msg_iov = &text;
  packet.msg_iovlen = 1;
  if (!fds.empty()) {
    packet.msg_control = room.data();
    packet.msg_controllen = room.size();
    cmsghdr* const rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  }
  REQUIRE(::sendmsg(socket.get(), &packet, MSG_NOSIGNAL) == static_cast<ssize_t>(size));
}

/// The first descriptor of the next message, or -1. Checks nothing, for children, which cannot.
inline int receive_raw(borrowed_fd socket) {
  char byte = 0;
  iovec text{&byte, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))];
  msghdr packet{};
  packet.msg_iov = &text;
  packet.msg_iovlen = 1;
  packet.msg_control = &room[0];
  packet.msg_controllen = sizeof room;
  int fd = -1;
  if (::recvmsg(socket.get(), &packet, MSG_CMSG_CLOEXEC) > 0 && CMSG_FIRSTHDR(&packet) != nullptr) {
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&packet)), sizeof fd);
  }
  return fd;
}

}  // namespace paddock::test
