package amazon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"envctl.dev/tests/providers/crud"
)

// Neither resource of this file exists in the real provider.

func random() string {
	raw := make([]byte, 4)
	_, _ = rand.Read(raw)
	return hex.EncodeToString(raw)
}

// slowQueue is a queue that is there long before Terraform is told so. Its name
// ends in something random: nobody who lost it finds it by name, and creating
// it again makes another.
type slowQueue struct {
	crud.Object
	tagged
	URL   types.String `tfsdk:"url"`
	Name  types.String `tfsdk:"name"`
	Delay types.Int64  `tfsdk:"delay"`
}

var slowQueues = crud.Kind[*session, slowQueue, *slowQueue]{
	Type: "aws_test_slow_queue", Noun: "slow queue",
	Schema: withTags(map[string]schema.Attribute{"url": crud.Given(), "name": crud.Fixed(), "delay": schema.Int64Attribute{Required: true}}),
	Name:   func(q *slowQueue) string { return q.Name.ValueString() },
	Create: func(ctx context.Context, s *session, q *slowQueue) error {
		name := q.Name.ValueString() + "-" + random()
		made, err := s.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Tags: q.settle(s)})
		if err != nil {
			return err
		}
		q.ID, q.URL = types.StringPointerValue(made.QueueUrl), types.StringPointerValue(made.QueueUrl)
		if q.ARN, err = queueARN(ctx, s, made.QueueUrl); err != nil {
			return err
		}
		select {
		case <-time.After(time.Duration(q.Delay.ValueInt64()) * time.Second):
			return nil
		case <-ctx.Done(): // Terraform was interrupted, once
			return fmt.Errorf("waiting for it: %w", ctx.Err())
		}
	},
	Read: func(ctx context.Context, s *session, q *slowQueue) (bool, error) {
		tags, err := s.sqs.ListQueueTags(ctx, &sqs.ListQueueTagsInput{QueueUrl: q.ID.ValueStringPointer()})
		var gone *sqstypes.QueueDoesNotExist
		if errors.As(err, &gone) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		q.see(s, tags.Tags)
		return true, nil
	},
	Update: func(ctx context.Context, s *session, old, wanted *slowQueue) error {
		return tagQueue(ctx, s, wanted.ID.ValueStringPointer(), &old.tagged, &wanted.tagged)
	},
	Delete: func(ctx context.Context, s *session, q *slowQueue) error { return deleteQueue(ctx, s, q.ID) },
	Plan:   planTags,
}

// failure is nothing but what fails when it is told to.
type failure struct {
	crud.Object
	On      types.String `tfsdk:"on"`
	Message types.String `tfsdk:"message"`
	While   types.String `tfsdk:"while_exists"`
}

var failures = crud.Kind[*session, failure, *failure]{
	Type: "aws_test_fail", Noun: "failure",
	Schema: crud.Attributes(map[string]schema.Attribute{
		// One of `moments`, or nothing.
		"on": crud.Optional(), "message": crud.TextOr("as told"),
		// A file; without it all is well.
		"while_exists": crud.Optional(),
	}),
	Name: func(f *failure) string { return f.On.ValueString() },
	Create: func(_ context.Context, _ *session, f *failure) error {
		if on := f.On.ValueString(); on != "" && !slices.Contains(moments, on) {
			return fmt.Errorf("on = %q is none of %q", on, moments)
		}
		if err := f.strike("create"); err != nil {
			return err
		}
		f.ID = types.StringValue(random())
		return nil
	},
	Read:   func(_ context.Context, _ *session, f *failure) (bool, error) { return true, f.strike("read") },
	Update: func(_ context.Context, _ *session, _, wanted *failure) error { return wanted.strike("update") },
	Delete: func(_ context.Context, _ *session, f *failure) error { return f.strike("delete") },
}

var moments = []string{"create", "read", "update", "delete"}

func (f *failure) strike(moment string) error {
	if f.On.ValueString() != moment {
		return nil
	}
	if file := f.While.ValueString(); file != "" {
		if _, err := os.Stat(file); err != nil {
			return nil
		}
	}
	return errors.New(f.Message.ValueString())
}
