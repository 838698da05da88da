package amazon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"envctl.dev/tests/providers/crud"
)

type queue struct {
	crud.Object
	tagged
	URL        types.String `tfsdk:"url"`
	Name       types.String `tfsdk:"name"`
	Visibility types.Int64  `tfsdk:"visibility_timeout_seconds"`
	Retention  types.Int64  `tfsdk:"message_retention_seconds"`
	Delay      types.Int64  `tfsdk:"delay_seconds"`
	Wait       types.Int64  `tfsdk:"receive_wait_time_seconds"`
	MaxSize    types.Int64  `tfsdk:"max_message_size"`
	Redrive    types.String `tfsdk:"redrive_policy"`
}

var queues = crud.Kind[*session, queue, *queue]{
	Type: "aws_sqs_queue", Noun: "SQS Queue",
	Schema: withTags(map[string]schema.Attribute{
		"url": crud.Given(), "name": crud.Fixed(), "visibility_timeout_seconds": crud.NumberOr(30), "message_retention_seconds": crud.NumberOr(345600),
		"delay_seconds": crud.NumberOr(0), "receive_wait_time_seconds": crud.NumberOr(0), "max_message_size": crud.NumberOr(262144), "redrive_policy": crud.Optional(),
	}),
	Name: func(q *queue) string {
		if q.URL.ValueString() != "" {
			return q.URL.ValueString()
		}
		return q.Name.ValueString()
	},
	Create: createQueue, Read: readQueue, Update: updateQueue, Plan: planTags,
	Delete: func(ctx context.Context, s *session, q *queue) error { return deleteQueue(ctx, s, q.ID) },
}

// attributes are all that SQS has numbers for.
func (q *queue) attributes() map[string]*types.Int64 {
	return map[string]*types.Int64{
		"VisibilityTimeout": &q.Visibility, "MessageRetentionPeriod": &q.Retention, "DelaySeconds": &q.Delay,
		"ReceiveMessageWaitTimeSeconds": &q.Wait, "MaximumMessageSize": &q.MaxSize,
	}
}

func createQueue(ctx context.Context, s *session, q *queue) error {
	tags := q.settle(s)
	name := q.Name.ValueString()
	if err := differs(ctx, s, name, tags); err != nil {
		return err
	}
	attributes := map[string]string{}
	for key, value := range q.attributes() {
		attributes[key] = strconv.FormatInt(value.ValueInt64(), 10)
	}
	if policy := q.Redrive.ValueString(); policy != "" {
		attributes["RedrivePolicy"] = policy
	}
	made, err := s.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes, Tags: tags})
	if err != nil {
		return err
	}
	q.ID, q.URL = types.StringPointerValue(made.QueueUrl), types.StringPointerValue(made.QueueUrl)
	q.ARN, err = queueARN(ctx, s, made.QueueUrl)
	return err
}

func queueARN(ctx context.Context, s *session, url *string) (types.String, error) {
	found, err := s.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}})
	if err != nil {
		return types.StringNull(), err
	}
	return types.StringValue(found.Attributes["QueueArn"]), nil
}

// differs is SQS's refusal to create a queue again with other tags. One with
// the same attributes and tags it just gives back.
func differs(ctx context.Context, s *session, name string, tags map[string]string) error {
	there, err := s.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	var gone *sqstypes.QueueDoesNotExist
	if errors.As(err, &gone) {
		return nil
	}
	if err != nil {
		return err
	}
	has, err := s.sqs.ListQueueTags(ctx, &sqs.ListQueueTagsInput{QueueUrl: there.QueueUrl})
	if err == nil && !maps.Equal(has.Tags, tags) {
		return fmt.Errorf("QueueAlreadyExists: A queue already exists with the same name and different tags: %s", aws.ToString(there.QueueUrl))
	}
	return err
}

func readQueue(ctx context.Context, s *session, q *queue) (bool, error) {
	url := q.ID.ValueStringPointer()
	found, err := s.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []sqstypes.QueueAttributeName{"All"}})
	var gone *sqstypes.QueueDoesNotExist
	if errors.As(err, &gone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	tags, err := s.sqs.ListQueueTags(ctx, &sqs.ListQueueTagsInput{QueueUrl: url})
	if err != nil {
		return false, err
	}
	for key, value := range q.attributes() {
		number, err := strconv.ParseInt(found.Attributes[key], 10, 64)
		if err != nil {
			return false, fmt.Errorf("%s: %w", key, err)
		}
		*value = types.Int64Value(number)
	}
	q.URL = q.ID
	q.ARN = types.StringValue(found.Attributes["QueueArn"])
	q.Name = types.StringValue(lastOf(q.ARN.ValueString(), ":"))
	q.Redrive = redrive(q.Redrive, found.Attributes["RedrivePolicy"])
	q.see(s, tags.Tags)
	return true, nil
}

// redrive compares what was written with what SQS has, for which numbers and
// their texts are the same.
func redrive(written types.String, found string) types.String {
	read := func(text string) (policy struct {
		DeadLetterTargetArn string      `json:"deadLetterTargetArn"`
		MaxReceiveCount     json.Number `json:"maxReceiveCount"`
	}, err error) {
		err = json.Unmarshal([]byte(text), &policy)
		return policy, err
	}
	one, err := read(written.ValueString())
	other, otherErr := read(found)
	if err == nil && otherErr == nil && one == other {
		return written
	}
	return crud.Text(found)
}

func updateQueue(ctx context.Context, s *session, old, wanted *queue) error {
	url := wanted.ID.ValueStringPointer()
	attributes := map[string]string{}
	before := old.attributes()
	for key, value := range wanted.attributes() {
		if !value.Equal(*before[key]) {
			attributes[key] = strconv.FormatInt(value.ValueInt64(), 10)
		}
	}
	if !wanted.Redrive.Equal(old.Redrive) {
		attributes["RedrivePolicy"] = wanted.Redrive.ValueString()
	}
	if len(attributes) > 0 {
		if _, err := s.sqs.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: url, Attributes: attributes}); err != nil {
			return err
		}
	}
	return tagQueue(ctx, s, url, &old.tagged, &wanted.tagged)
}

func tagQueue(ctx context.Context, s *session, url *string, old, wanted *tagged) error {
	set, gone := changed(s, old, wanted)
	if len(gone) > 0 {
		if _, err := s.sqs.UntagQueue(ctx, &sqs.UntagQueueInput{QueueUrl: url, TagKeys: gone}); err != nil {
			return err
		}
	}
	if len(set) > 0 {
		if _, err := s.sqs.TagQueue(ctx, &sqs.TagQueueInput{QueueUrl: url, Tags: set}); err != nil {
			return err
		}
	}
	return nil
}

func deleteQueue(ctx context.Context, s *session, url types.String) error {
	_, err := s.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: url.ValueStringPointer()})
	var gone *sqstypes.QueueDoesNotExist
	if errors.As(err, &gone) {
		return nil
	}
	return err
}
