// Package amazon is the double of hashicorp/aws.
package amazon

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func New(version string) provider.Provider { return &amazon{version} }

type amazon struct{ version string }

// settings are the provider's block.
type settings struct {
	Region          types.String `tfsdk:"region"`
	Profile         types.String `tfsdk:"profile"`
	AccessKey       types.String `tfsdk:"access_key"`
	SecretKey       types.String `tfsdk:"secret_key"`
	Token           types.String `tfsdk:"token"`
	ConfigFiles     types.List   `tfsdk:"shared_config_files"`
	CredentialFiles types.List   `tfsdk:"shared_credentials_files"`
	MaxRetries      types.Int64  `tfsdk:"max_retries"`
	Allowed         types.Set    `tfsdk:"allowed_account_ids"`
	Forbidden       types.Set    `tfsdk:"forbidden_account_ids"`
	PathStyle       types.Bool   `tfsdk:"s3_use_path_style"`
	SkipCredentials types.Bool   `tfsdk:"skip_credentials_validation"`
	SkipAccount     types.Bool   `tfsdk:"skip_requesting_account_id"`
	SkipRegion      types.Bool   `tfsdk:"skip_region_validation"`
	SkipMetadata    types.String `tfsdk:"skip_metadata_api_check"`

	AssumeRole  []assumption  `tfsdk:"assume_role"`
	DefaultTags []defaultTags `tfsdk:"default_tags"`
	Endpoints   types.Set     `tfsdk:"endpoints"`
}

type assumption struct {
	Role       types.String `tfsdk:"role_arn"`
	Session    types.String `tfsdk:"session_name"`
	ExternalID types.String `tfsdk:"external_id"`
	Duration   types.String `tfsdk:"duration"`
}

type defaultTags struct {
	Tags types.Map `tfsdk:"tags"`
}

// services can be named in `endpoints`. Those that no resource here uses are
// taken, too, so that configurations for the real provider need no change.
var services = []string{
	"acm", "apigateway", "autoscaling", "cloudfront", "cloudwatch", "dynamodb", "ec2", "ecr", "ecs", "efs", "eks", "elasticache",
	"elasticsearch", "elb", "elbv2", "events", "firehose", "iam", "kafka", "kinesis", "kms", "lambda", "logs", "mq", "opensearch", "rds",
	"redshift", "resourcegroupstaggingapi", "route53", "s3", "secretsmanager", "ses", "sesv2", "sfn", "sns", "sqs", "ssm", "sts",
}

func (a *amazon) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "aws"
	resp.Version = a.version
}

func (a *amazon) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	text := schema.StringAttribute{Optional: true}
	flag := schema.BoolAttribute{Optional: true}
	texts := schema.ListAttribute{ElementType: types.StringType, Optional: true}
	accounts := schema.SetAttribute{ElementType: types.StringType, Optional: true}
	endpoints := map[string]schema.Attribute{}
	for _, service := range services {
		endpoints[service] = text
	}
	resp.Schema = schema.Schema{
		Attributes: map[string]schema.Attribute{
			"region": text, "profile": text, "access_key": text, "secret_key": text, "token": text,
			"shared_config_files": texts, "shared_credentials_files": texts, "max_retries": schema.Int64Attribute{Optional: true},
			"allowed_account_ids": accounts, "forbidden_account_ids": accounts, "s3_use_path_style": flag,
			"skip_credentials_validation": flag, "skip_requesting_account_id": flag, "skip_region_validation": flag, "skip_metadata_api_check": text,
		},
		Blocks: map[string]schema.Block{
			"assume_role": schema.ListNestedBlock{NestedObject: schema.NestedBlockObject{Attributes: map[string]schema.Attribute{
				"role_arn": text, "session_name": text, "external_id": text, "duration": text,
			}}},
			"default_tags": schema.ListNestedBlock{NestedObject: schema.NestedBlockObject{Attributes: map[string]schema.Attribute{
				"tags": schema.MapAttribute{ElementType: types.StringType, Optional: true},
			}}},
			"endpoints": schema.SetNestedBlock{NestedObject: schema.NestedBlockObject{Attributes: endpoints}},
		},
	}
}

func (a *amazon) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var from settings
	if resp.Diagnostics.Append(req.Config.Get(ctx, &from)...); resp.Diagnostics.HasError() {
		return
	}
	s, no := open(ctx, a.version, req.TerraformVersion, &from)
	if no != nil {
		resp.Diagnostics.AddError(no.summary, no.detail)
		return
	}
	resp.ResourceData = s
	resp.DataSourceData = s
}

func (a *amazon) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		queues.New, buckets.New, roles.New, rolePolicies.New, secrets.New, secretVersions.New, slowQueues.New, failures.New,
	}
}

func (a *amazon) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		func() datasource.DataSource { return &callerIdentity{} },
		func() datasource.DataSource { return &currentRegion{} },
		func() datasource.DataSource { return &currentSecret{} },
	}
}
