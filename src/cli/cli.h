#pragma once

/// The command line: a client of the server's HTTP API. Every group and verb is a row of the table in verbs.cc.
namespace lathe::cli {

/// Runs `lathe GROUP VERB ...`. Results go to stdout, messages to stderr. Returns the exit code (exit_codes.h).
int run(int argc, char** argv);

/// Prints what `lathe --help` says.
void print_help();

}  // namespace lathe::cli
