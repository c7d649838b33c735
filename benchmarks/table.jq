# From the lines of the loads, whose labels are "<scenario> <contestant> <round>": with $show "table" Markdown
# tables with medians over the rounds (least–most), Parlor against the others, and whether goals are met; with
# "figures" the ratios that are steady enough to be compared with those of another day (compare.jq).

def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def digits(n): (. * pow(10; n) | round) / pow(10; n);
def show: if . >= 1000 then round elif . >= 100 then digits(0) elif . >= 10 then digits(1) else digits(2) end
  | tostring | if test("^[0-9]{4,}$") then gsub("(?<a>[0-9]{3})$"; " \(.a)") | gsub("(?<b>[0-9])(?<a>[0-9]{3}) "; "\(.b) \(.a) ") else . end;
def cell: if length == 0 then "" elif length == 1 or min == max then (median | show) else "\(median | show) (\(min | show)–\(max | show))" end;

def most($of; $must; $stretch): {$of, sign: "≤", $must, $stretch};
def least($of; $must; $stretch): {$of, sign: "≥", $must, $stretch};
# `steady`: what of it is compared by --check, by contestant.
def row($in; $what; $path; $goals): {$in, $what, $path, $goals, added: false, steady: []};

def tables: [
  {who: ["direct", "nginx", "parlor"], head: ["direct", "nginx", "Parlor"], rows: [
    (row("first-1"; "1: time to the first token, a stream at a time, p50, µs added"; ["first_us", "p50"]; [most("nginx"; 2; 1.3)]) | .added = true),
    row("first-1"; "p99, µs in all"; ["first_us", "p99"]; [most("nginx"; 2.5; null)]),
    row("first-1"; "CPU, µs a stream"; ["cpu_us_per_stream"]; []),
    (row("first-50"; "1: the same with 50 streams under way, p50, µs added"; ["first_us", "p50"]; [most("nginx"; 2; 1.3)]) | .added = true),
    row("first-50"; "p99, µs in all"; ["first_us", "p99"]; [most("nginx"; 2.5; null)]),
    row("first-50"; "CPU, µs a stream of 20 tokens"; ["cpu_us_per_stream"]; []),
    row("hop-50"; "2: a token's way, 50 streams × 50 tokens/s, p50, µs"; ["hop_us", "p50"]; [most("nginx"; 1.5; 1.15)]),
    row("hop-50"; "p99, µs"; ["hop_us", "p99"]; [most("nginx"; 2; null)]),
    row("hop-50"; "CPU, µs a token"; ["cpu_us_per_token"]; []),
    row("hop-500"; "2: a token's way, 500 streams × 20 tokens/s, p50, µs"; ["hop_us", "p50"]; [most("nginx"; 1.5; 1.15)]),
    row("hop-500"; "p99, µs"; ["hop_us", "p99"]; [most("nginx"; 2; null)]),
    row("hop-500"; "CPU, µs a token"; ["cpu_us_per_token"]; []),
    row("grow-100"; "2: 100 streams under way, 8000 tokens/s in all: CPU, µs a token"; ["cpu_us_per_token"]; []),
    row("grow-4000"; "2: 4000 streams, as many tokens/s in all: CPU, µs a token"; ["cpu_us_per_token"]; [most("parlor"; 1.3; null) + {in: "grow-100", than: "with 100"}]),
    row("burst"; "3: 16 streams of 64 tokens at once, tokens/s"; ["tokens_per_s"]; [least("nginx"; 0.6; 0.9)]),
    (row("burst"; "CPU, µs a token"; ["cpu_us_per_token"]; [most("nginx"; 1.8; null)]) | .steady = ["nginx"]),
    row("one-write"; "3: the same, 64 tokens in one write of the upstream, tokens/s"; ["tokens_per_s"]; []),
    row("one-write"; "CPU, µs a token"; ["cpu_us_per_token"]; []),
    row("burst-kept"; "3: the same, connections kept where the server lets them, tokens/s"; ["tokens_per_s"]; []),
    row("burst-kept"; "CPU, µs a token"; ["cpu_us_per_token"]; []),
    row("tasks"; "4: whole answers, 64 at once, tasks/s"; ["streams_per_s"]; [least("nginx"; 0.25; 0.4)]),
    (row("tasks"; "CPU, µs a task"; ["cpu_us_per_stream"]; []) | .steady = ["nginx"]),
    row("tasks"; "p50, µs"; ["whole_us", "p50"]; [])]},
  {who: ["sync", "memory", "disk"], head: ["bare synced write", "store in memory", "store on disk"], rows: [
    row("tasks-stored"; "4, 9: whole answers, 64 at once, tasks/s"; ["streams_per_s"]; [least("memory"; 0.85; 0.95)]),
    (row("tasks-stored"; "CPU, µs a task"; ["cpu_us_per_stream"]; [])),
    row("burst-stored"; "9: 16 streams of 64 tokens at once, tokens/s"; ["tokens_per_s"]; [least("memory"; 0.85; 0.95)]),
    (row("burst-stored"; "CPU, µs a token"; ["cpu_us_per_token"]; [])),
    row("first-1-stored"; "9: time to the first token, a stream at a time, p50, µs"; ["first_us", "p50"]; [most("memory"; 1.1; null)]),
    row("accepts"; "9: a turn is accepted, 500/s, p50, µs"; ["whole_us", "p50"]; [most("sync"; 2; null)]),
    row("accepts"; "p99, µs"; ["whole_us", "p99"]; [])]},
  {who: ["closed", "at80", "at90", "at100", "at200"], head: ["64 clients without a pause", "0.8 of that at random", "0.9", "as many", "twice as many"], rows: [
    row("overload"; "12: whole answers, tasks/s that were answered within 2 s"; ["streams_per_s"]; [least("peak"; 0.9; null) + {best: ["at80", "at90", "at100"]}]),
    row("overload"; "p99 of those, µs"; ["whole_us", "p99"]; []),
    row("overload"; "refused (429, 503)"; ["refused"]; []),
    row("overload"; "given up by the client"; ["given_up"]; [])]},
  {who: ["bare", "nchan", "parlor"], head: ["bare", "nchan", "Parlor"], rows: [
    row("fan-1000"; "5: 1 room × 1000 watchers, one event at a time, events/s"; ["events_per_s"]; [least("bare"; 0.75; 0.9), least("nchan"; 1; 1.25)]),
    (row("fan-1000"; "CPU, µs an event"; ["cpu_us_per_event"]; []) | .steady = ["bare", "nchan"]),
    row("fan-8000"; "5: 1 room × 8000 watchers, one event at a time, events/s"; ["events_per_s"]; [least("bare"; 0.75; 0.9), least("nchan"; 1; 1.25)]),
    (row("fan-8000"; "CPU, µs an event"; ["cpu_us_per_event"]; []) | .steady = ["bare", "nchan"]),
    row("fan-ahead"; "5: 1 room × 1000 watchers, four events under way, events/s"; ["events_per_s"]; []),
    row("fan-ahead"; "CPU, µs an event"; ["cpu_us_per_event"]; []),
    row("fan-paced"; "5: 1 room × 1000 watchers, 20 000 events/s, p50, µs"; ["way_us", "p50"]; []),
    row("fan-paced"; "p99, µs"; ["way_us", "p99"]; [most("bare"; 1.3; null)]),
    row("fan-paced"; "CPU, µs an event"; ["cpu_us_per_event"]; []),
    row("rooms-1000"; "6: 1000 rooms × 1 watcher, events/s"; ["events_per_s"]; []),
    (row("rooms-1000"; "CPU, µs an event"; ["cpu_us_per_event"]; [most("nchan"; 1; 0.8)]) | .steady = ["bare", "nchan"]),
    row("rooms-many"; "6: 9500 rooms × 1 watcher, events/s"; ["events_per_s"]; []),
    (row("rooms-many"; "CPU, µs an event"; ["cpu_us_per_event"]; [most("nchan"; 1; 0.8)]) | .steady = ["bare", "nchan"]),
    row("fan-large"; "12: 200 watchers, 6000 events/s of 16 000 bytes, all read: p99, µs"; ["way_us", "p99"]; []),
    row("fan-slow"; "12: 10 of them never read: p99 of the others, µs"; ["way_us", "p99"]; [most("parlor"; 1.5; null) + {in: "fan-large", than: "without them"}]),
    row("fan-slow"; "memory at most, more than before, bytes"; ["memory_grown"]; [])]},
  {who: ["bare", "nchan", "parlor"], head: ["bare", "nchan", "Parlor"], rows: [
    (row("idle-sse"; "7: an idle SSE watcher, bytes"; ["bytes_each"]; [most("bytes"; 2048; 768), most("nchan"; 0.2; 0.083)]) | .steady = ["nchan"]),
    row("idle-sse"; "growth from the first three of ten times to the last three, %"; ["growth_percent"]; [most("%"; 2; null)]),
    (row("idle-ws"; "7: an idle WebSocket, bytes"; ["bytes_each"]; [most("bytes"; 2048; 1024), most("nchan"; 0.2; 0.083)]) | .steady = ["nchan"]),
    row("idle-ws"; "growth from the first three of ten times to the last three, %"; ["growth_percent"]; [most("%"; 2; null)]),
    row("sessions"; "8: a session after one turn, in memory, bytes"; ["bytes_each"]; [most("bytes"; 2560; null)]),
    row("sessions-made"; "sessions made, each with its turn, a second"; ["streams_per_s"]; []),
    row("passivated"; "8: a session that has left memory, bytes"; ["bytes_each"]; [most("bytes"; 256; null)]),
    row("quiet-sessions"; "11: 100 000 sessions and nothing happens, CPU, %"; ["cpu_percent"]; [most("%"; 0.1; null)]),
    row("quiet-sessions"; "wakeups/s"; ["wakeups_per_s"]; [most("a second"; 20; null)]),
    row("quiet"; "11: with 10 000 SSE watchers of them, CPU, %"; ["cpu_percent"]; [most("%"; 0.1; null)]),
    row("quiet"; "wakeups/s"; ["wakeups_per_s"]; [most("a second"; 20; null)])]}
];

# Numbers of a contestant in a scenario, by round; `added`: less the direct one of the same round.
def numbers($all; $in; $who; $path; $added):
  [$all[] | select(.scenario == $in and .who == $who)] | sort_by(.round)
  | map(. as $run | ($run | getpath($path)) as $n | select($n != null) | $n
      - (if $added then ([$all[] | select(.scenario == $in and .who == "direct" and .round == $run.round) | getpath($path)] | first // 0) else 0 end));

# The ratio of Parlor's figure to another contestant's.
def ratio($all; $row; $of; $ours):
  (numbers($all; $row.in; $of; $row.path; $row.added) | median) as $theirs
  | (numbers($all; $row.in; $ours; $row.path; $row.added) | median) as $own
  | if $theirs != null and $own != null and $theirs > 0 then $own / $theirs else null end;

# For --check: of the least of each, as what disturbs a round only ever adds to it.
def least_ratio($all; $row; $of; $ours):
  (numbers($all; $row.in; $of; $row.path; false) | min) as $theirs | (numbers($all; $row.in; $ours; $row.path; false) | min) as $own
  | if $theirs != null and $own != null and $theirs > 0 then $own / $theirs else null end;

def kept($sign; $is; $goal): $goal != null and (if $sign == "≤" then $is <= $goal else $is >= $goal end);

def verdict($all; $row; $ours): . as $goal
  | (if .in then
       (numbers($all; .in; $ours; $row.path; false) | median) as $n
       | if $n then (numbers($all; $row.in; $ours; $row.path; false) | median) / $n else null end
     elif (.of | IN("bytes", "%", "a second")) then numbers($all; $row.in; $ours; $row.path; false) | median
     elif .best then
       ([.best[] as $who | numbers($all; $row.in; $who; $row.path; false) | median | select(. != null)] | max) as $peak
       | if $peak then (numbers($all; $row.in; $ours; $row.path; false) | median) / $peak else null end
     else ratio($all; $row; .of; $ours) end) as $is
  | if $is == null then empty else
      "\(.sign) \(.must)\(if .stretch then " / \(.stretch)" else "" end)"
      + (if .in then " × \($goal.than)" elif (.of | IN("bytes", "%", "a second")) then " \(.of)" else " × \(.of)" end)
      + ": \(if kept(.sign; $is; .stretch) then "**stretch met**" elif kept(.sign; $is; .must) then "met" else "**missed**" end)"
      + (if .in or .best then " (\($is | show))" else "" end)
    end;

map(. + (.label | split(" ") | {scenario: .[0], who: .[1], round: (.[2] | tonumber)})) as $all
| if $show == "figures" then
    [tables[] | .who[-1] as $ours | .rows[] | . as $row | .steady[] as $of | least_ratio($all; $row; $of; $ours) | select(. != null)
      | {key: "\($row.in) \($row.path | join(".")) : \($of)", value: {ratio: digits(3), better: "less"}}] | from_entries
  else
    [tables[] | .who as $who | .head as $head | $who[-1] as $ours | [.rows[] | select(.in as $in | $all | any(.scenario == $in))] | select(length > 0) as $rows
      | "| Scenario and measure | \($head | join(" | ")) | Parlor : others | goal (must / stretch) |",
        "|---|\($head | map("---|") | join(""))---|---|",
        ($rows[] | . as $row
          | ($who | map(. as $w | if $w == "direct" and ($row.path[0] | startswith("cpu")) then "" # the upstream's own, no floor of a server's
              else (numbers($all; $row.in; $w; $row.path; $row.added and $w != "direct") | cell)
                + (if $w == "direct" and $row.added then " in all" else "" end) end)) as $cells
          | [$who[:-1][] | . as $of | select($of != "direct") | ratio($all; $row; $of; $ours) | select(. != null) | "\(show) × \($of)"] as $ratios
          | [$row.goals[] | verdict($all; $row; $ours)] as $goals
          | "| \($row.what) | \($cells | join(" | ")) | \($ratios | join(", ")) | \($goals | join("; ")) |"),
        ""]
    | .[:-1][]
  end
