# SPDX-License-Identifier: BSL-1.0
# Finds libdrm through pkg-config, which is all that it ships; installed beside paddock's package config for consumers.
# Result: libdrm::libdrm, libdrm_FOUND, libdrm_VERSION.
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(PC_libdrm QUIET libdrm)
endif()
find_path(libdrm_INCLUDE_DIR xf86drm.h HINTS ${PC_libdrm_INCLUDE_DIRS})
find_library(libdrm_LIBRARY drm HINTS ${PC_libdrm_LIBRARY_DIRS})
set(libdrm_VERSION "${PC_libdrm_VERSION}")
mark_as_advanced(libdrm_INCLUDE_DIR libdrm_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(libdrm REQUIRED_VARS libdrm_LIBRARY libdrm_INCLUDE_DIR VERSION_VAR libdrm_VERSION)

if(libdrm_FOUND AND NOT TARGET libdrm::libdrm)
  add_library(libdrm::libdrm UNKNOWN IMPORTED)
  set_target_properties(libdrm::libdrm PROPERTIES IMPORTED_LOCATION "${libdrm_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${libdrm_INCLUDE_DIR};${PC_libdrm_INCLUDE_DIRS}")
endif()
