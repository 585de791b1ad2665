#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/arguments.h"
#include "cli/connect.h"
#include "cli/document.h"
#include "http/client.h"

namespace lathe::cli {

/// One run of a verb: its flags, the server, and where results and messages go.
class Session {
 public:
  Session(const Group& of_group, const Verb& of_verb, Arguments given)
      : group(of_group), verb(of_verb), arguments(std::move(given)) {}

  const Group& group;
  const Verb& verb;
  const Arguments arguments;
  Document document;

  /// The server, found at the first call. Errors: as find_server.
  Result<const Target*> target();
  Result<http::Client*> client();

  /// Asks the server. An answer of 400 or more is an error with the problem's detail. No body in the answer: null.
  /// Errors: `unavailable` (with how to start a server where none runs here), and what the server says.
  Result<json::Value> call(std::string_view method, const std::string& path, const json::Value* body = nullptr);
  /// The error that an answer of 400 or more stands for.
  Error problem(const http::ClientResponse& response) const;
  /// Puts what to do about it into an error of the client.
  Error explained(Error error);

  /// A path with its {parts} from the flags, else from the document, encoded; with the flags that go into the query.
  /// Errors: `invalid`, naming the missing flag.
  Result<std::string> expand(std::string_view path) const;
  Result<std::string> need(std::string_view flag) const;

  /// Prints a result to stdout in the format asked for, through --query.
  Result<int> print(const json::Value& result, const std::vector<Column>& columns = {}) const;
  /// One line on stderr.
  static void say(const std::string& message);
  /// What became of the fields that were not plainly honoured, on stderr.
  void print_report(const json::Value& answer) const;
  /// Asks before something is lost. Errors: `invalid` when nobody can be asked and --yes was not given.
  Result<bool> confirm(const std::string& question) const;

 private:
  std::optional<Target> target_;
  std::unique_ptr<http::Client> client_;
};

}  // namespace lathe::cli
