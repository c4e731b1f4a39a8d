# Commands for redis-cli --pipe: sessions that expire, carts, a ranking, tags and a queue.
function command(    i, out) {
  out = "*" count "\r\n"
  for (i = 1; i <= count; i++) out = out "$" length(word[i]) "\r\n" word[i] "\r\n"
  printf "%s", out
}
BEGIN {
  for (i = 1; i <= n; i++) {
    if (i % 5 < 3) {
      count = 5; word[1] = "SET"; word[2] = "session:" i; word[3] = "user=" i % 977 ";cart=" i * 7919 % 100003
      word[4] = "EX"; word[5] = 86400 + i; command()
    } else if (i % 5 == 3) {
      count = 8; word[1] = "HSET"; word[2] = "cart:" i; word[3] = "article"; word[4] = i % 5000
      word[5] = "amount"; word[6] = 1 + i % 4; word[7] = "added"; word[8] = 1700000000 + i; command()
    } else {
      count = 4; word[1] = "ZADD"; word[2] = "ranking:" i % 100; word[3] = i * 31 % 10007; word[4] = "article" i; command()
    }
    if (i % 50 == 0) { count = 3; word[1] = "SADD"; word[2] = "tags"; word[3] = "tag" i; command() }
    if (i % 70 == 0) { count = 3; word[1] = "RPUSH"; word[2] = "queue"; word[3] = "mail " i; command() }
  }
}
