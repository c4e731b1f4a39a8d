#include "backup/pg_globals.h"

#include <optional>

namespace sealane::backup {
namespace {

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

// Words, identifiers ("…" unquoted), strings (kept raw) and single signs of one statement.
struct Token {
  enum class Kind : std::uint8_t { kWord, kQuotedName, kString, kSign } kind = Kind::kSign;
  std::string text;
  // Its place in the statement.
  std::size_t begin = 0;
  std::size_t end = 0;
};
struct Statement {
  std::string_view text;  // with its semicolon
  std::vector<Token> tokens;
};

// Cuts a script with standard_conforming_strings on.
class Splitter {
 public:
  explicit Splitter(std::string_view script) : rest_(script) {}

  // The next statement; nothing at the end.
  Result<std::optional<Statement>, GlobalsError> next() {
    skip_between();
    if (rest_.empty()) return std::optional<Statement>();
    Statement statement;
    const std::string_view start = rest_;
    while (!rest_.empty()) {
      const char c = rest_[0];
      const std::size_t before = statement.tokens.size();
      const std::size_t begin = start.size() - rest_.size();
      if (c == ';') {
        rest_.remove_prefix(1);
        statement.text = start.substr(0, start.size() - rest_.size());
        return std::optional(std::move(statement));
      }
      if (is_space(c)) {
        rest_.remove_prefix(1);
      } else if (c == '\'') {
        if (!take_string(statement, false)) return GlobalsError::kMalformed;
      } else if (c == '"') {
        if (!take_name(statement)) return GlobalsError::kMalformed;
      } else if (is_word(c)) {
        take_word(statement);
        // E'…' has backslash escapes.
        if (statement.tokens.back().text == "e" && rest_.starts_with('\'')) {
          statement.tokens.pop_back();
          if (!take_string(statement, true)) return GlobalsError::kMalformed;
        }
      } else if (c == '\\' || c == '$' || c == ':' || rest_.starts_with("--") ||
                 rest_.starts_with("/*")) {
        // A psql command or variable, a dollar quote, a comment: pg_dumpall writes none in here.
        return GlobalsError::kMalformed;
      } else {
        statement.tokens.push_back({.kind = Token::Kind::kSign, .text = std::string(1, c)});
        rest_.remove_prefix(1);
      }
      if (statement.tokens.size() > before) {
        statement.tokens.back().begin = begin;
        statement.tokens.back().end = start.size() - rest_.size();
      }
    }
    return GlobalsError::kMalformed;  // no semicolon
  }

 private:
  static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
  }
  void skip_between() {
    while (!rest_.empty()) {
      if (is_space(rest_[0])) {
        rest_.remove_prefix(1);
      } else if (rest_.starts_with("--") || rest_.starts_with('\\')) {
        const auto end = rest_.find('\n');
        rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
      } else {
        return;
      }
    }
  }
  void take_word(Statement& statement) {
    Token token{.kind = Token::Kind::kWord, .text = {}};
    while (!rest_.empty() && is_word(rest_[0])) {
      const char c = rest_[0];
      token.text += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      rest_.remove_prefix(1);
    }
    statement.tokens.push_back(std::move(token));
  }
  bool take_string(Statement& statement, bool escapes) {
    for (std::size_t i = 1; i < rest_.size(); ++i) {
      if (escapes && rest_[i] == '\\') {
        ++i;
      } else if (rest_[i] == '\'') {
        if (i + 1 < rest_.size() && rest_[i + 1] == '\'') {
          ++i;
          continue;
        }
        statement.tokens.push_back(
            {.kind = Token::Kind::kString, .text = std::string(rest_.substr(0, i + 1))});
        rest_.remove_prefix(i + 1);
        return true;
      }
    }
    return false;
  }
  bool take_name(Statement& statement) {
    Token token{.kind = Token::Kind::kQuotedName, .text = {}};
    for (std::size_t i = 1; i < rest_.size(); ++i) {
      if (rest_[i] == '"') {
        if (i + 1 < rest_.size() && rest_[i + 1] == '"') {
          ++i;
        } else {
          rest_.remove_prefix(i + 1);
          statement.tokens.push_back(std::move(token));
          return true;
        }
      }
      token.text += rest_[i];
    }
    return false;
  }

  std::string_view rest_;
};

// Whether the statement starts with these keywords.
bool starts(const Statement& statement, std::initializer_list<std::string_view> words) {
  std::size_t i = 0;
  for (const std::string_view word : words) {
    if (i >= statement.tokens.size() || statement.tokens[i].kind != Token::Kind::kWord ||
        statement.tokens[i].text != word) {
      return false;
    }
    ++i;
  }
  return true;
}

// The identifier at `index`, if it is one.
std::optional<std::string> name_at(const Statement& statement, std::size_t index) {
  if (index >= statement.tokens.size()) return std::nullopt;
  const Token& token = statement.tokens[index];
  if (token.kind != Token::Kind::kWord && token.kind != Token::Kind::kQuotedName) {
    return std::nullopt;
  }
  return token.text;
}

std::optional<std::string> name_after(const Statement& statement, std::string_view keyword) {
  for (std::size_t i = 0; i + 1 < statement.tokens.size(); ++i) {
    if (statement.tokens[i].kind == Token::Kind::kWord && statement.tokens[i].text == keyword) {
      return name_at(statement, i + 1);
    }
  }
  return std::nullopt;
}

}  // namespace

Result<Globals, GlobalsError> select_globals(std::string_view dump,
                                             const std::set<std::string>& roles,
                                             const std::set<std::string>& databases) {
  Globals result;
  Splitter splitter(dump);
  for (;;) {
    SEALANE_TRY(const auto statement, splitter.next());
    if (!statement) return result;
    bool keep = true;
    const bool setting = starts(*statement, {"set"});
    if (setting) {
      // Of the session. Strings must end where we, psql and the server all see the end.
      const auto& tokens = statement->tokens;
      const std::string value = tokens.size() == 4 ? tokens[3].text : "";
      const bool known =
          (name_at(*statement, 1) == "standard_conforming_strings" && value == "on") ||
          (name_at(*statement, 1) == "client_encoding" && value == "'UTF8'") ||
          (name_at(*statement, 1) == "default_transaction_read_only" && value == "off");
      if (!known) return GlobalsError::kUnknownStatement;
    } else if (starts(*statement, {"create", "role"})) {
      const auto role = name_at(*statement, 2);
      if (!role) return GlobalsError::kMalformed;
      keep = !roles.contains(*role);
      if (keep) result.missing.push_back(*role);
    } else if (starts(*statement, {"alter", "role"})) {
      const auto role = name_at(*statement, 2);
      if (!role) return GlobalsError::kMalformed;
      keep = !roles.contains(*role);
      if (name_at(*statement, 3) == "in" && name_at(*statement, 4) == "database") {
        const auto database = name_at(*statement, 5);
        keep = keep && database && databases.contains(*database);
      }
    } else if (starts(*statement, {"comment", "on", "role"})) {
      const auto role = name_at(*statement, 3);
      keep = role && !roles.contains(*role);
    } else if (starts(*statement, {"security", "label"})) {
      const auto role = name_after(*statement, "role");
      keep = role && !roles.contains(*role);
    } else if (starts(*statement, {"grant"})) {
      // A membership: GRANT group TO member … Nothing new between two that are there.
      const auto group = name_at(*statement, 1);
      const auto member = name_after(*statement, "to");
      if (!group || !member) return GlobalsError::kMalformed;
      keep = !(roles.contains(*group) && roles.contains(*member));
      // Rights on configuration parameters (GRANT SET ON PARAMETER x TO role) go with the role.
      if (name_at(*statement, 2) == "on" || name_at(*statement, 3) == "on") {
        keep = !roles.contains(*member);
      }
    } else if (starts(*statement, {"revoke"})) {
      const auto role = name_after(*statement, "from");
      keep = role && !roles.contains(*role);
    } else {
      return GlobalsError::kUnknownStatement;
    }
    if (keep) {
      result.script.append(statement->text).append("\n");
      if (!setting) ++result.changes;
    } else {
      ++result.skipped;
    }
  }
}

namespace {

// Of an archive's session. Strings must end where we, psql and the server all see the end: so no
// encoding of clients alone, whose characters may hold the byte of a quote, and no other syntax.
bool is_safe_setting(const Statement& statement) {
  const auto& tokens = statement.tokens;
  if (tokens.size() != 4 || tokens[2].text != "=" || tokens[3].kind != Token::Kind::kString) {
    return false;
  }
  const std::string& value = tokens[3].text;
  const auto name = name_at(statement, 1);
  if (name == "standard_conforming_strings") return value == "'on'";
  if (name != "client_encoding") return false;
  return value == "'UTF8'" || value == "'SQL_ASCII'" || value.starts_with("'LATIN") ||
         value.starts_with("'WIN125");
}

}  // namespace

Result<std::string, GlobalsError> settings_for_database(std::string_view entries,
                                                        std::string_view database) {
  std::string script;
  Splitter splitter(entries);
  for (;;) {
    SEALANE_TRY(const auto statement, splitter.next());
    if (!statement) return script;
    std::optional<std::size_t> name;  // the token that is the database's
    if (starts(*statement, {"alter", "database"})) {
      if (name_at(*statement, 3) != "set" && name_at(*statement, 3) != "connection") continue;
      name = 2;
    } else if (starts(*statement, {"alter", "role"})) {
      if (name_at(*statement, 3) == "in" && name_at(*statement, 4) == "database") name = 5;
    } else if (starts(*statement, {"comment", "on", "database"})) {
      name = 3;
    } else if (starts(*statement, {"grant"}) || starts(*statement, {"revoke"}) ||
               starts(*statement, {"security", "label"})) {
      const auto& tokens = statement->tokens;
      for (std::size_t i = 0; i + 2 < tokens.size() && !name; ++i) {
        if (tokens[i].kind == Token::Kind::kWord && tokens[i].text == "on" &&
            name_at(*statement, i + 1) == "database") {
          name = i + 2;
        }
      }
    } else if ((starts(*statement, {"set"}) && is_safe_setting(*statement)) ||
               starts(*statement, {"set", "session", "authorization"}) ||
               starts(*statement, {"reset", "session", "authorization"})) {
      // Of the archive, and around what somebody else has granted.
      script.append(statement->text).append("\n");
      continue;
    }
    if (!name || !name_at(*statement, *name)) return GlobalsError::kUnknownStatement;
    const Token& old = statement->tokens[*name];
    // Another name put in its place must not grow together with what stands beside it.
    const char before = statement->text[old.begin - 1];
    const char behind = statement->text[old.end];
    if (!is_space(before) || (!is_space(behind) && behind != ';')) return GlobalsError::kMalformed;
    script.append(statement->text.substr(0, old.begin))
        .append(database)
        .append(statement->text.substr(old.end))
        .append("\n");
  }
}

}  // namespace sealane::backup
