package amazon

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"envctl.dev/tests/providers/crud"
)

type bucket struct {
	crud.Object
	tagged
	Bucket         types.String `tfsdk:"bucket"`
	ForceDestroy   types.Bool   `tfsdk:"force_destroy"`
	Region         types.String `tfsdk:"region"`
	Domain         types.String `tfsdk:"bucket_domain_name"`
	RegionalDomain types.String `tfsdk:"bucket_regional_domain_name"`
}

var buckets = crud.Kind[*session, bucket, *bucket]{
	Type: "aws_s3_bucket", Noun: "S3 Bucket",
	Schema: withTags(map[string]schema.Attribute{
		"bucket": crud.Fixed(), "force_destroy": crud.FlagOr(false), "region": crud.Given(),
		"bucket_domain_name": crud.Given(), "bucket_regional_domain_name": crud.Given(),
	}),
	Name:   func(b *bucket) string { return b.Bucket.ValueString() },
	Create: createBucket, Read: readBucket, Update: updateBucket, Delete: deleteBucket, Plan: planTags,
}

// There is no constraint that means the first region, and a bucket of one's
// own can be created again there.
const firstRegion = "us-east-1"

func createBucket(ctx context.Context, s *session, b *bucket) error {
	name := b.Bucket.ValueString()
	input := &s3.CreateBucketInput{Bucket: &name}
	if s.region == firstRegion {
		if _, err := s.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &name}); err == nil {
			return fmt.Errorf("BucketAlreadyExists: %s", name)
		}
	} else {
		input.CreateBucketConfiguration = &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(s.region)}
	}
	if _, err := s.s3.CreateBucket(ctx, input); err != nil {
		return err
	}
	b.ID = types.StringValue(name)
	b.describe(s)
	return putBucketTags(ctx, s, name, b.settle(s))
}

func (b *bucket) describe(s *session) {
	name := b.ID.ValueString()
	b.Bucket = b.ID
	b.ARN = types.StringValue("arn:aws:s3:::" + name)
	b.Region = types.StringValue(s.region)
	b.Domain = types.StringValue(name + ".s3.amazonaws.com")
	b.RegionalDomain = types.StringValue(name + ".s3." + s.region + ".amazonaws.com")
}

func putBucketTags(ctx context.Context, s *session, name string, tags map[string]string) error {
	if len(tags) == 0 {
		_, err := s.s3.DeleteBucketTagging(ctx, &s3.DeleteBucketTaggingInput{Bucket: &name})
		return err
	}
	var set []s3types.Tag
	for key, value := range tags {
		set = append(set, s3types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	sort.Slice(set, func(a, b int) bool { return *set[a].Key < *set[b].Key })
	_, err := s.s3.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &name, Tagging: &s3types.Tagging{TagSet: set}})
	return err
}

func readBucket(ctx context.Context, s *session, b *bucket) (bool, error) {
	name := b.ID.ValueStringPointer()
	if _, err := s.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name}); err != nil {
		var gone *s3types.NotFound
		if errors.As(err, &gone) {
			return false, nil
		}
		return false, err
	}
	found := map[string]string{}
	tags, err := s.s3.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: name})
	switch {
	case is(err, "NoSuchTagSet"):
	case err != nil:
		return false, err
	default:
		for _, tag := range tags.TagSet {
			found[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
		}
	}
	b.describe(s)
	b.see(s, found)
	return true, nil
}

func updateBucket(ctx context.Context, s *session, old, wanted *bucket) error {
	// S3 knows only all of them at once.
	if set, gone := changed(s, &old.tagged, &wanted.tagged); len(set)+len(gone) == 0 {
		return nil
	}
	return putBucketTags(ctx, s, wanted.ID.ValueString(), texts(wanted.TagsAll))
}

func deleteBucket(ctx context.Context, s *session, b *bucket) error {
	name := b.ID.ValueStringPointer()
	if b.ForceDestroy.ValueBool() {
		if err := emptyBucket(ctx, s, name); err != nil {
			return err
		}
	}
	if _, err := s.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name}); err != nil && !is(err, "NoSuchBucket") {
		return err
	}
	return nil
}

func emptyBucket(ctx context.Context, s *session, name *string) error {
	for pages := s3.NewListObjectVersionsPaginator(s.s3, &s3.ListObjectVersionsInput{Bucket: name}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if is(err, "NoSuchBucket") {
			return nil
		}
		if err != nil {
			return err
		}
		var all []s3types.ObjectIdentifier
		for _, one := range page.Versions {
			all = append(all, s3types.ObjectIdentifier{Key: one.Key, VersionId: one.VersionId})
		}
		for _, one := range page.DeleteMarkers {
			all = append(all, s3types.ObjectIdentifier{Key: one.Key, VersionId: one.VersionId})
		}
		if len(all) == 0 {
			continue
		}
		done, err := s.s3.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: name, Delete: &s3types.Delete{Objects: all, Quiet: aws.Bool(true)}})
		if err != nil {
			return err
		}
		for _, no := range done.Errors {
			return fmt.Errorf("%s: %s: %s", aws.ToString(no.Key), aws.ToString(no.Code), aws.ToString(no.Message))
		}
	}
	return nil
}
