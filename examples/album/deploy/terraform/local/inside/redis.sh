# redis.sh destroy | lookup PREFIX, run in the container. Nobody else's keys start so: the mark is
# part of the prefix.

verb=$1 prefix=$2

keys() {
  redis-cli -e --scan --pattern "$prefix:*"
}

# A scan that cannot connect looks like one that finds nothing.
redis-cli -e PING >/dev/null || exit 1
case $verb in
destroy)
  keys | xargs --no-run-if-empty --max-args=1000 redis-cli UNLINK >/dev/null
  ;;
lookup)
  count=$(keys | wc -l)
  echo "redis: $count keys start with $prefix:"
  [ "$count" != 0 ] || exit 3
  ;;
esac
