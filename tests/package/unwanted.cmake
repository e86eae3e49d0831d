# SPDX-License-Identifier: BSL-1.0
# The program must not be linked with any of UNWANTED.
separate_arguments(UNWANTED)
foreach(library IN LISTS UNWANTED)
  add_custom_command(TARGET consumer POST_BUILD VERBATIM
    COMMAND sh -c "! readelf -d '$<TARGET_FILE:consumer>' | grep -F 'NEEDED' | grep -F '[${library}.'")
endforeach()
