# Compares the ratios of a run ($is) with those of another day ($was), both as table.jq's "figures" are. A line for
# each: "worse" when a ratio is more than a quarter worse, "better" when it is as much better, else "same".
$was[0] as $was | $is[0] as $is
| [$is | to_entries[] | select($was[.key])
    | $was[.key].ratio as $old | .value.ratio as $new
    | (if .value.better == "less" then $new / $old else $old / $new end) as $grown
    | "\(if $grown > 1.25 then "worse" elif $grown < 0.8 then "better" else "same" end): \(.key) was \($old), is \($new)"]
| if length == 0 then "worse: nothing was measured that is written down" else .[] end
