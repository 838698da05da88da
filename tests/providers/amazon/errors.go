package amazon

import (
	"errors"
	"slices"

	"github.com/aws/smithy-go"
)

// is says whether AWS answered with one of these codes.
func is(err error, codes ...string) bool {
	var answer smithy.APIError
	return errors.As(err, &answer) && slices.Contains(codes, answer.ErrorCode())
}
