// SPDX-License-Identifier: BSL-1.0
/// \file
/// Ioctl numbers from the size of our own structures, so that they do not depend on the headers of the build machine.
/// The encoding is the generic one, shared by x86-64 and aarch64.
#pragma once

#include <cstddef>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::uapi {

constexpr unsigned long ioctl_number(unsigned long direction, char type, unsigned long number,
                                     std::size_t size) noexcept {
  return (direction << 30U) | (static_cast<unsigned long>(size) << 16U) |
         (static_cast<unsigned long>(static_cast<unsigned char>(type)) << 8U) | number;
}

constexpr unsigned long io(char type, unsigned long number) noexcept { return ioctl_number(0, type, number, 0); }
template <class Argument>
constexpr unsigned long iow(char type, unsigned long number) noexcept {
  return ioctl_number(1, type, number, sizeof(Argument));
}
template <class Argument>
constexpr unsigned long ior(char type, unsigned long number) noexcept {
  return ioctl_number(2, type, number, sizeof(Argument));
}
template <class Argument>
constexpr unsigned long iowr(char type, unsigned long number) noexcept {
  return ioctl_number(3, type, number, sizeof(Argument));
}

}  // namespace PADDOCK_NAMESPACE::uapi
