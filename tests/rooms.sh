#!/bin/sh
# The dependency rule of the design: protocol <- http, llm, store <- actors (ports only) <- app.
# Prints every include that breaks it and fails.
cd "${1:-.}" || exit 2
bad=0
forbid() { # room, pattern of forbidden includes, pattern of exceptions
  found=$(grep -rnE "#include [<\"]($2)" "$1" --include='*.hpp' --include='*.cpp' | grep -vE "#include [<\"](${3:-^$})")
  if [ -n "$found" ]; then
    echo "$1 may not include:"; echo "$found"; bad=1
  fi
}
forbid protocol 'caf/|boost/asio|boost/beast|http/|llm/|store/|actors/|app/|sqlite3|curl/|prometheus|spdlog'
forbid http 'caf/|llm/|store/|actors/|app/|sqlite3|curl/|prometheus|spdlog'
forbid llm 'caf/|http/|store/|actors/|app/|sqlite3|prometheus|spdlog|boost/beast'
forbid store 'caf/|http/|llm/|actors/|app/|curl/|prometheus|spdlog|boost/asio|boost/beast'
forbid actors 'app/|boost/beast|sqlite3|curl/|prometheus|spdlog|http/|llm/|store/' 'http/exchange.hpp|http/cork.hpp|http/websocket.hpp|llm/provider.hpp|llm/limiter.hpp|llm/http_post.hpp|store/store.hpp'
exit $bad
