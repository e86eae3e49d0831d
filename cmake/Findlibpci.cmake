# SPDX-License-Identifier: BSL-1.0
# Finds libpci through pkg-config, which is all that it ships; installed beside paddock's package config for consumers.
# Result: libpci::libpci, libpci_FOUND, libpci_VERSION.
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(PC_libpci QUIET libpci)
endif()
find_path(libpci_INCLUDE_DIR pci/pci.h HINTS ${PC_libpci_INCLUDE_DIRS})
find_library(libpci_LIBRARY pci HINTS ${PC_libpci_LIBRARY_DIRS})
set(libpci_VERSION "${PC_libpci_VERSION}")
mark_as_advanced(libpci_INCLUDE_DIR libpci_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(libpci REQUIRED_VARS libpci_LIBRARY libpci_INCLUDE_DIR VERSION_VAR libpci_VERSION)

if(libpci_FOUND AND NOT TARGET libpci::libpci)
  add_library(libpci::libpci UNKNOWN IMPORTED)
  set_target_properties(libpci::libpci PROPERTIES IMPORTED_LOCATION "${libpci_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${libpci_INCLUDE_DIR};${PC_libpci_INCLUDE_DIRS}")
endif()
