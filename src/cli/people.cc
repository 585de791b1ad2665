#include "cli/handlers.h"
#include "cli/session.h"

namespace lathe::cli {

Result<int> run_token_create(Session& session) {
  LATHE_TRY(session.document, build_document(session.verb, session.arguments));
  LATHE_TRY(const auto answer, session.call("POST", std::string(session.verb.path), &session.document.yaml.value));
  return session.print(answer);
}

}  // namespace lathe::cli
