package amazon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	secretstypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"envctl.dev/tests/providers/crud"
)

type secret struct {
	crud.Object
	tagged
	Name        types.String `tfsdk:"name"`
	Description types.String `tfsdk:"description"`
	Window      types.Int64  `tfsdk:"recovery_window_in_days"`
}

var secrets = crud.Kind[*session, secret, *secret]{
	Type: "aws_secretsmanager_secret", Noun: "Secrets Manager Secret",
	Schema: withTags(map[string]schema.Attribute{"name": crud.Fixed(), "description": crud.Optional(), "recovery_window_in_days": crud.NumberOr(30)}),
	Name:   func(o *secret) string { return o.Name.ValueString() },
	Create: createSecret, Read: readSecret, Update: updateSecret, Plan: planTags,
	// It stays for as long as it can be recovered, and its name with it.
	Delete: func(ctx context.Context, s *session, o *secret) error {
		input := &secretsmanager.DeleteSecretInput{SecretId: o.ID.ValueStringPointer()}
		if days := o.Window.ValueInt64(); days > 0 {
			input.RecoveryWindowInDays = aws.Int64(days)
		} else {
			input.ForceDeleteWithoutRecovery = aws.Bool(true)
		}
		_, err := s.secrets.DeleteSecret(ctx, input)
		if is(err, "ResourceNotFoundException") {
			return nil
		}
		return err
	},
}

func createSecret(ctx context.Context, s *session, o *secret) error {
	made, err := s.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: o.Name.ValueStringPointer(), Description: o.Description.ValueStringPointer(), Tags: secretTags(o.settle(s)),
	})
	if is(err, "ResourceExistsException") {
		// moto does not tell apart what AWS does.
		there, _ := s.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: o.Name.ValueStringPointer()})
		if there != nil && there.DeletedDate != nil {
			return errors.New("InvalidRequestException: You can't create this secret because a secret with this name is already scheduled for deletion.")
		}
	}
	if err != nil {
		return err
	}
	o.ID, o.ARN = types.StringPointerValue(made.ARN), types.StringPointerValue(made.ARN)
	return nil
}

func secretTags(tags map[string]string) []secretstypes.Tag {
	var all []secretstypes.Tag
	for key, value := range tags {
		all = append(all, secretstypes.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	return all
}

func readSecret(ctx context.Context, s *session, o *secret) (bool, error) {
	found, err := s.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: o.ID.ValueStringPointer()})
	if is(err, "ResourceNotFoundException") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if found.DeletedDate != nil {
		return false, nil
	}
	o.Name, o.ARN, o.Description = types.StringPointerValue(found.Name), types.StringPointerValue(found.ARN), crud.Text(aws.ToString(found.Description))
	tags := map[string]string{}
	for _, tag := range found.Tags {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	o.see(s, tags)
	return true, nil
}

func updateSecret(ctx context.Context, s *session, old, wanted *secret) error {
	id := wanted.ID.ValueStringPointer()
	if !wanted.Description.Equal(old.Description) {
		_, err := s.secrets.UpdateSecret(ctx, &secretsmanager.UpdateSecretInput{SecretId: id, Description: aws.String(wanted.Description.ValueString())})
		if err != nil {
			return err
		}
	}
	set, gone := changed(s, &old.tagged, &wanted.tagged)
	if len(gone) > 0 {
		if _, err := s.secrets.UntagResource(ctx, &secretsmanager.UntagResourceInput{SecretId: id, TagKeys: gone}); err != nil {
			return err
		}
	}
	if len(set) > 0 {
		if _, err := s.secrets.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: id, Tags: secretTags(set)}); err != nil {
			return err
		}
	}
	return nil
}

type secretVersion struct {
	crud.Object
	ARN       types.String `tfsdk:"arn"`
	SecretID  types.String `tfsdk:"secret_id"`
	Secret    types.String `tfsdk:"secret_string"`
	VersionID types.String `tfsdk:"version_id"`
	Stages    types.Set    `tfsdk:"version_stages"`
}

var secretVersions = crud.Kind[*session, secretVersion, *secretVersion]{
	Type: "aws_secretsmanager_secret_version", Noun: "Secrets Manager Secret Version",
	Schema: crud.Attributes(map[string]schema.Attribute{
		"arn": crud.Given(), "secret_id": crud.Fixed(), "version_id": crud.Given(),
		"secret_string": schema.StringAttribute{
			Optional: true, Sensitive: true, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
		},
		"version_stages": schema.SetAttribute{ElementType: types.StringType, Computed: true},
	}),
	Name: func(v *secretVersion) string { return v.SecretID.ValueString() },
	Create: func(ctx context.Context, s *session, v *secretVersion) error {
		made, err := s.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: v.SecretID.ValueStringPointer(), SecretString: v.Secret.ValueStringPointer(),
		})
		if err != nil {
			return err
		}
		v.ARN, v.VersionID = types.StringPointerValue(made.ARN), types.StringPointerValue(made.VersionId)
		v.ID = types.StringValue(v.SecretID.ValueString() + "|" + v.VersionID.ValueString())
		v.Stages = setOf(made.VersionStages)
		return nil
	},
	Read: readSecretVersion, Delete: deleteSecretVersion,
}

func setOf(texts []string) types.Set {
	all := make([]attr.Value, 0, len(texts))
	for _, one := range texts {
		all = append(all, types.StringValue(one))
	}
	return types.SetValueMust(types.StringType, all)
}

func readSecretVersion(ctx context.Context, s *session, v *secretVersion) (bool, error) {
	of, version, both := strings.Cut(v.ID.ValueString(), "|")
	if !both {
		return false, fmt.Errorf("%q is not SECRET|VERSION", v.ID.ValueString())
	}
	found, err := s.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &of, VersionId: &version})
	// A secret that is about to be deleted has no versions that can be read.
	if is(err, "ResourceNotFoundException", "InvalidRequestException") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	v.SecretID, v.VersionID = types.StringValue(of), types.StringValue(version)
	v.ARN, v.Secret, v.Stages = types.StringPointerValue(found.ARN), types.StringPointerValue(found.SecretString), setOf(found.VersionStages)
	return true, nil
}

// deleteSecretVersion takes the version's labels away, after which AWS forgets
// it some day. The current one cannot go before the secret does.
func deleteSecretVersion(ctx context.Context, s *session, v *secretVersion) error {
	stages := list(v.Stages.Elements())
	if slices.Contains(stages, "AWSCURRENT") {
		return nil
	}
	for _, stage := range stages {
		_, err := s.secrets.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: v.SecretID.ValueStringPointer(), VersionStage: &stage, RemoveFromVersionId: v.VersionID.ValueStringPointer(),
		})
		if err != nil && !is(err, "ResourceNotFoundException", "InvalidRequestException", "InvalidParameterException") {
			return err
		}
	}
	return nil
}
