# What `cmake --install` puts where: the libraries with their public headers, found by
# find_package(sealane) or pkg-config; the program with man pages and shell completions.
include(CMakePackageConfigHelpers)

install(TARGETS sealane sealane_core EXPORT sealane_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/sealane DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/sealane)
install(EXPORT sealane_targets FILE sealane-targets.cmake NAMESPACE sealane::
  DESTINATION ${package_directory})
configure_package_config_file(cmake/sealane-config.cmake.in ${PROJECT_BINARY_DIR}/sealane-config.cmake
  INSTALL_DESTINATION ${package_directory})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/sealane-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/sealane-config.cmake
              ${PROJECT_BINARY_DIR}/sealane-config-version.cmake
  DESTINATION ${package_directory})

# The .pc file finds its prefix from where it lies, so the installed tree may be moved.
file(RELATIVE_PATH PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
set(PC_IPSEC_MB "")
if(SEALANE_HAVE_IPSEC_MB)
  set(PC_IPSEC_MB " -lIPSec_MB")
endif()
configure_file(cmake/sealane.pc.in ${PROJECT_BINARY_DIR}/sealane.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/sealane.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS sealane_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# The name under which the program is a drop-in for that tool.
install(CODE "
  set(link \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/backupy-decrypt\")
  file(CREATE_LINK sealane \"\${link}\" SYMBOLIC)
  file(WRITE \"${PROJECT_BINARY_DIR}/backupy-decrypt.1\" \".so man1/sealane-decrypt.1\\n\")")
install(FILES ${PROJECT_BINARY_DIR}/backupy-decrypt.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
# Pages and completions come from the program itself.
set(generated ${PROJECT_BINARY_DIR}/generated)
install(CODE "
  file(REMOVE_RECURSE \"${generated}\")
  file(MAKE_DIRECTORY \"${generated}/man1\")
  execute_process(COMMAND \"$<TARGET_FILE:sealane_program>\" generate-man \"${generated}/man1\"
    COMMAND_ERROR_IS_FATAL ANY)
  foreach(shell bash zsh fish)
    execute_process(COMMAND \"$<TARGET_FILE:sealane_program>\" completion \${shell}
      OUTPUT_FILE \"${generated}/\${shell}\" COMMAND_ERROR_IS_FATAL ANY)
  endforeach()")
install(DIRECTORY ${generated}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
install(FILES ${generated}/bash RENAME sealane
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${generated}/zsh RENAME _sealane DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${generated}/fish RENAME sealane.fish
  DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
