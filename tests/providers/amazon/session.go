package amazon

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithy "github.com/aws/smithy-go/middleware"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// session is the AWS that a provider block means, with the identity that it has there.
type session struct {
	region      string
	account     string
	defaultTags map[string]string

	sts     *sts.Client
	sqs     *sqs.Client
	s3      *s3.Client
	iam     *iam.Client
	secrets *secretsmanager.Client
}

type refusal struct{ summary, detail string }

func open(ctx context.Context, version, terraform string, from *settings) (*session, *refusal) {
	var options []func(*config.LoadOptions) error
	add := func(option config.LoadOptionsFunc) { options = append(options, option) }
	add(config.WithAPIOptions([]func(*smithy.Stack) error{
		middleware.AddUserAgentKeyValue("Terraform", terraform), middleware.AddUserAgentKeyValue("terraform-provider-aws", version),
	}))
	if region := from.Region.ValueString(); region != "" {
		add(config.WithRegion(region))
	}
	if profile := from.Profile.ValueString(); profile != "" {
		add(config.WithSharedConfigProfile(profile))
	}
	if files := list(from.ConfigFiles.Elements()); len(files) > 0 {
		add(config.WithSharedConfigFiles(files))
	}
	if files := list(from.CredentialFiles.Elements()); len(files) > 0 {
		add(config.WithSharedCredentialsFiles(files))
	}
	if key := from.AccessKey.ValueString(); key != "" {
		add(config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(key, from.SecretKey.ValueString(), from.Token.ValueString())))
	}
	if !from.MaxRetries.IsNull() {
		add(config.WithRetryMaxAttempts(int(from.MaxRetries.ValueInt64())))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, &refusal{"loading configuration: " + err.Error(), ""}
	}
	if cfg.Region == "" {
		return nil, &refusal{"Missing region", "Neither the provider's block nor the environment nor the profile names a region."}
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, &refusal{"No valid credential sources found", err.Error()}
	}
	endpoint := endpoints(from.Endpoints)
	stsOf := func() *sts.Client {
		return sts.NewFromConfig(cfg, func(o *sts.Options) { replace(&o.BaseEndpoint, endpoint["sts"]) })
	}
	for _, role := range from.AssumeRole {
		if no := assume(ctx, &cfg, stsOf(), &role); no != nil {
			return nil, no
		}
	}
	s := &session{
		region: cfg.Region, sts: stsOf(), defaultTags: defaults(from.DefaultTags),
		sqs: sqs.NewFromConfig(cfg, func(o *sqs.Options) { replace(&o.BaseEndpoint, endpoint["sqs"]) }),
		s3: s3.NewFromConfig(cfg, func(o *s3.Options) {
			replace(&o.BaseEndpoint, endpoint["s3"])
			o.UsePathStyle = from.PathStyle.ValueBool()
		}),
		iam:     iam.NewFromConfig(cfg, func(o *iam.Options) { replace(&o.BaseEndpoint, endpoint["iam"]) }),
		secrets: secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) { replace(&o.BaseEndpoint, endpoint["secretsmanager"]) }),
	}
	return s, s.identify(ctx, from)
}

// assume lets all that is opened from now on be somebody else.
func assume(ctx context.Context, cfg *aws.Config, client *sts.Client, role *assumption) *refusal {
	arn := role.Role.ValueString()
	if arn == "" {
		return nil
	}
	var lasts time.Duration
	if text := role.Duration.ValueString(); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			return &refusal{"Invalid duration of assume_role", err.Error()}
		}
	}
	cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(client, arn, func(o *stscreds.AssumeRoleOptions) {
		if lasts > 0 {
			o.Duration = lasts
		}
		if name := role.Session.ValueString(); name != "" {
			o.RoleSessionName = name
		}
		if id := role.ExternalID.ValueString(); id != "" {
			o.ExternalID = aws.String(id)
		}
	}))
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return &refusal{"Cannot assume IAM Role", fmt.Sprintf("IAM Role (%s) cannot be assumed.\n\nError: %s", arn, err)}
	}
	return nil
}

// identify asks who this is, and whether the account is one of those that were meant.
func (s *session) identify(ctx context.Context, from *settings) *refusal {
	if from.SkipCredentials.ValueBool() && from.SkipAccount.ValueBool() {
		return nil
	}
	who, err := s.sts.GetCallerIdentity(ctx, nil)
	if err != nil {
		return &refusal{"Retrieving AWS account details: validating provider credentials: retrieving caller identity from STS: " + err.Error(), ""}
	}
	if from.SkipAccount.ValueBool() {
		return nil
	}
	s.account = aws.ToString(who.Account)
	allowed, forbidden := list(from.Allowed.Elements()), list(from.Forbidden.Elements())
	if slices.Contains(forbidden, s.account) || len(allowed) > 0 && !slices.Contains(allowed, s.account) {
		return &refusal{"AWS account ID not allowed: " + s.account, ""}
	}
	return nil
}

func replace(base **string, url string) {
	if url != "" {
		*base = aws.String(url)
	}
}

func endpoints(blocks types.Set) map[string]string {
	found := map[string]string{}
	for _, block := range blocks.Elements() {
		for service, url := range block.(types.Object).Attributes() {
			if text := url.(types.String).ValueString(); text != "" {
				found[service] = text
			}
		}
	}
	return found
}

func list(values []attr.Value) []string {
	var all []string
	for _, one := range values {
		all = append(all, one.(types.String).ValueString())
	}
	return all
}
