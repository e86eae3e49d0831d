# SPDX-License-Identifier: BSL-1.0
# One export set a room, so that a consumer needs only the packages of the components it asks for.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/paddock")
get_property(rooms GLOBAL PROPERTY PADDOCK_ROOMS)
foreach(room IN LISTS rooms)
  set(target paddock_${room})
  if(room STREQUAL "paddock")
    set(target paddock)
  endif()
  get_target_property(has_headers ${target} INTERFACE_HEADER_SETS)
  if(has_headers)
    install(TARGETS ${target} EXPORT paddock-${room} FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  else()
    install(TARGETS ${target} EXPORT paddock-${room})
  endif()
  install(EXPORT paddock-${room} NAMESPACE paddock:: DESTINATION "${package_dir}" FILE paddock-${room}-targets.cmake)
endforeach()

configure_package_config_file(cmake/paddock-config.cmake.in "${PROJECT_BINARY_DIR}/paddock-config.cmake"
                              INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/paddock-config-version.cmake" COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/paddock-config.cmake" "${PROJECT_BINARY_DIR}/paddock-config-version.cmake"
              cmake/Findlibdrm.cmake cmake/Findlibpci.cmake
        DESTINATION "${package_dir}")
