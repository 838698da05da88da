# aws.sh create queue NAME [DEAD-LETTER-QUEUE], aws.sh create bucket NAME, and with destroy or lookup
# instead of create, run in the container. The mark is a tag.

verb=$1 thing=$2 name=$3 dead_letter_queue=$4
endpoint=http://127.0.0.1:5000
account=123456789012

# request SERVICE CURL-ARGUMENT...: the answer's body, and its status on a last line. Fails only when
# there is no answer, so that "is not there" and "could not ask" stay apart.
request() {
  service=$1
  shift
  curl --silent --show-error --max-time 20 --user local:local --aws-sigv4 "aws:amz:$region:$service" \
    --write-out '\n%{http_code}' "$@"
}

sqs() {
  request sqs --header "X-Amz-Target: AmazonSQS.$1" --header 'Content-Type: application/x-amz-json-1.0' \
    --data "$2" $endpoint/
}

# s3 METHOD PATH [XML]
s3() {
  request s3 --request "$1" --header 'Content-Type: application/xml' --data "$3" "$endpoint/$2"
}

# Ends the script unless the answer's status is a success.
succeed() {
  case ${answer##*
} in
  2*) ;;
  *)
    echo "$verb $thing $name: $answer" >&2
    exit 1
    ;;
  esac
}

url="http://aws:5000/$account/$name"
case $thing in
queue) answer=$(sqs ListQueueTags "{\"QueueUrl\": \"$url\"}") || exit 1 ;;
bucket) answer=$(s3 GET "$name?tagging=") || exit 1 ;;
esac
case $answer in
*"$owner"*) state=ours ;;
*QueueDoesNotExist* | *'<Code>NoSuchBucket<'*) state=absent ;;
*'<Code>NoSuchTagSet<'* | *200) state=foreign ;;
*) succeed ;;
esac

case $verb-$state in
create-foreign)
  echo "$thing $name exists and is not this environment's: use another name, or remove it" >&2
  exit 1
  ;;
create-absent)
  case $thing in
  queue)
    attributes=
    if [ -n "$dead_letter_queue" ]; then
      # Three attempts, then a message is set aside for someone to look at.
      arn="arn:aws:sqs:$region:$account:$dead_letter_queue"
      attributes="\"RedrivePolicy\": \"{\\\"deadLetterTargetArn\\\": \\\"$arn\\\", \\\"maxReceiveCount\\\": 3}\""
    fi
    answer=$(sqs CreateQueue "{\"QueueName\": \"$name\", \"tags\": {\"owner\": \"$owner\"},
      \"Attributes\": {$attributes}}") || exit 1
    succeed
    ;;
  bucket)
    answer=$(s3 PUT "$name" "<CreateBucketConfiguration>
      <LocationConstraint>$region</LocationConstraint></CreateBucketConfiguration>") || exit 1
    succeed
    answer=$(s3 PUT "$name?tagging=" "<Tagging><TagSet>
      <Tag><Key>owner</Key><Value>$owner</Value></Tag></TagSet></Tagging>") || exit 1
    succeed
    ;;
  esac
  ;;
destroy-ours)
  case $thing in
  queue)
    answer=$(sqs DeleteQueue "{\"QueueUrl\": \"$url\"}") || exit 1
    succeed
    ;;
  bucket)
    # Only an empty bucket can be deleted. A listing has up to 1,000 keys, as many as one request
    # may delete; they are this application's own and need no unescaping.
    while
      answer=$(s3 GET "$name?list-type=2") || exit 1
      succeed
      objects=$(echo "$answer" | grep -o '<Key>[^<]*</Key>' | sed 's:.*:<Object>&</Object>:')
      [ -n "$objects" ]
    do
      answer=$(s3 POST "$name?delete=" "<Delete><Quiet>true</Quiet>$objects</Delete>") || exit 1
      succeed
    done
    answer=$(s3 DELETE "$name") || exit 1
    succeed
    ;;
  esac
  ;;
esac

echo "aws: $thing $name is $state" | case $verb in lookup) cat ;; *) sed 's/aws: //; s/ is / was /' ;; esac
[ "$verb-$state" = lookup-ours ] || [ "$verb" != lookup ] || exit 3
