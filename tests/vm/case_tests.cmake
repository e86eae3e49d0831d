# SPDX-License-Identifier: BSL-1.0
#
# What ctest reads to learn of the cases of one program, which are known only after it is built. Before it:
#   paddock_vm_command   the lane's program
#   paddock_vm_folder    where the lanes' lists and results are
#   paddock_vm_lanes     the lanes that run the program: vm, vm-6.12

# Tells the verdict on one case, in each lane.
function(paddock_vm_case name)
  foreach(lane IN LISTS paddock_vm_lanes)
    add_test("${lane}.${name}" ${paddock_vm_command} result "--results=${paddock_vm_folder}/${lane}/results"
             "--name=${name}")
    set_tests_properties("${lane}.${name}" PROPERTIES
      LABELS ${lane} FIXTURES_REQUIRED ${lane}_boot SKIP_RETURN_CODE 77)
  endforeach()
endfunction()

# Fails, in each lane: there is no command of that name.
function(paddock_vm_not_built target)
  foreach(lane IN LISTS paddock_vm_lanes)
    add_test("${lane}.${target}_NOT_BUILT" "${lane}.${target}_NOT_BUILT")
    set_tests_properties("${lane}.${target}_NOT_BUILT" PROPERTIES LABELS ${lane})
  endforeach()
endfunction()
